import Foundation
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Words for people, on standard error. What strangers have put into them does nothing to a terminal.
func say(_ text: String) {
  let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { String($0).shown(.max) }
  try? writeAll(lines.joined(separator: "\n") + "\n", to: 2)
}

struct OutputFailed: Error, CustomStringConvertible {
  var code: Int32
  var isClosedPipe: Bool { code == EPIPE }
  var description: String { "cannot write to standard output: \(String(cString: strerror(code)))" }
}

/// A line of data, on standard output. It is out when this returns.
func emit(_ line: some Collection<UInt8>) throws(OutputFailed) {
  var bytes = outputIsTerminal ? escapedForTerminal(line) : Array(line)
  bytes.append(0x0a)
  try writeAll(bytes, to: 1)
}

private let outputIsTerminal = isatty(1) == 1

/// What a terminal would act on as JSON's `\u…`. Elsewhere the bytes are left as they are.
func escapedForTerminal(_ line: some Collection<UInt8>) -> [UInt8] {
  guard line.contains(where: { $0 < 0x20 || $0 >= 0x7f }) else { return Array(line) }
  var escaped: [UInt8] = []
  for unit in String(decoding: line, as: UTF8.self).unicodeScalars {
    // A tab between values is no harm, and no part of a text.
    if unit.isHarmless || unit == "\t" {
      escaped += Array(String(unit).utf8)
    } else {
      for half in String(unit).utf16 {
        escaped += Array(#"\u"#.utf8) + Array(String(0x10000 + Int(half), radix: 16).dropFirst().utf8)
      }
    }
  }
  return escaped
}

private func writeAll(_ text: String, to descriptor: Int32) throws(OutputFailed) {
  try writeAll(Array(text.utf8), to: descriptor)
}

private func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws(OutputFailed) {
  var rest = bytes[...]
  while !rest.isEmpty {
    let n = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if n > 0 {
      rest = rest.dropFirst(n)
    } else if errno != EINTR {
      throw OutputFailed(code: errno)
    }
  }
}

/// One line on a terminal that is written over, a few times a second; silent where standard error is no terminal.
struct Progress {
  private let isTerminal = isatty(2) == 1
  private let started = ContinuousClock.now
  private var shownAt = ContinuousClock.now
  private var isShown = false

  mutating func show(_ text: @autoclosure () -> String) {
    guard isTerminal, ContinuousClock.now - shownAt > .milliseconds(200) else { return }
    shownAt = .now
    isShown = true
    try? writeAll("\r\u{1b}[K" + text(), to: 2)
  }

  mutating func clear() {
    if isShown { try? writeAll("\r\u{1b}[K", to: 2) }
    isShown = false
  }

  /// Seconds since the beginning.
  var seconds: Double { (ContinuousClock.now - started) / .seconds(1) }
}

/// A number with thousands set apart.
func grouped(_ number: Int) -> String {
  var digits = String(number)
  var at = digits.count - 3
  while at > 0 {
    digits.insert(",", at: digits.index(digits.startIndex, offsetBy: at))
    at -= 3
  }
  return digits
}
