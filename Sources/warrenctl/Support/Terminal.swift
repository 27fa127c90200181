import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A line for people, on standard error.
func say(_ text: String) {
  try? writeAll(text + "\n", to: 2)
}

struct OutputFailed: Error, CustomStringConvertible {
  var code: Int32
  var isClosedPipe: Bool { code == EPIPE }
  var description: String { "cannot write to standard output: \(String(cString: strerror(code)))" }
}

/// A line of data, on standard output. It is out when this returns.
func emit(_ line: some Collection<UInt8>) throws(OutputFailed) {
  var bytes = Array(line)
  bytes.append(0x0a)
  try writeAll(bytes, to: 1)
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
