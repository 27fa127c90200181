import Dispatch
import Foundation
import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The lines of a file or of standard input, as they arrive.
final class Lines: Sendable {
  struct Line: Sendable {
    /// Beginning at 1.
    var number: Int
    /// Nil when the line is longer than allowed: it was read over.
    var text: Data?
  }
  struct ReadFailed: Error, CustomStringConvertible {
    var name: String
    var code: Int32
    var description: String { "cannot read \(name): \(String(cString: strerror(code)))" }
  }

  private let descriptor: Int32
  private let name: String
  private let longest: Int
  // Reading blocks: on a thread of its own, or a terminal that nobody types at would hold up everything else.
  private let queue = DispatchQueue(label: "warrenctl.input")
  private let splitter: Splitter

  /// Standard input when `path` is nil.
  init(path: String?, longest: Int) throws(ReadFailed) {
    self.longest = longest
    splitter = Splitter(longest: longest)
    name = path ?? "standard input"
    descriptor = path.map { open($0, O_RDONLY | O_CLOEXEC) } ?? 0
    if descriptor < 0 { throw ReadFailed(name: name, code: errno) }
  }

  deinit { if descriptor > 0 { close(descriptor) } }

  /// What has arrived, at least one line; nil at the end. Empty lines are left out.
  func next() async throws(ReadFailed) -> [Line]? {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<[Line]?, ReadFailed>, Never>) in
      queue.async { continuation.resume(returning: self.read()) }
    }
    return try result.get()
  }

  private func read() -> Result<[Line]?, ReadFailed> {
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      if splitter.isAtEnd { return .success(nil) }
      #if canImport(Darwin)
        let n = Darwin.read(descriptor, &buffer, buffer.count)
      #elseif canImport(Musl)
        let n = Musl.read(descriptor, &buffer, buffer.count)
      #else
        let n = Glibc.read(descriptor, &buffer, buffer.count)
      #endif
      if n < 0 {
        if errno == EINTR { continue }
        return .failure(ReadFailed(name: name, code: errno))
      }
      let lines = splitter.take(buffer[..<n])
      if !lines.isEmpty { return .success(lines) }
    }
  }

  /// Cuts bytes into lines. Used on the input's queue only.
  private final class Splitter: @unchecked Sendable {
    private let longest: Int
    private var number = 0
    private var partial = Data()
    private var isTooLong = false
    private(set) var isAtEnd = false

    init(longest: Int) { self.longest = longest }

    /// No bytes mean the end.
    func take(_ bytes: ArraySlice<UInt8>) -> [Line] {
      var lines: [Line] = []
      if bytes.isEmpty {
        isAtEnd = true
        if !partial.isEmpty || isTooLong { end(&lines) }
        return lines
      }
      var rest = bytes
      while let newline = rest.firstIndex(of: 0x0a) {
        append(rest[..<newline])
        end(&lines)
        rest = rest[(newline + 1)...]
      }
      append(rest)
      return lines
    }

    private func append(_ bytes: ArraySlice<UInt8>) {
      guard !isTooLong else { return }
      if partial.count + bytes.count > longest {
        isTooLong = true
        partial = Data()
      } else {
        partial.append(contentsOf: bytes)
      }
    }

    private func end(_ lines: inout [Line]) {
      number += 1
      if isTooLong {
        lines.append(Line(number: number, text: nil))
      } else {
        if partial.last == 0x0d { partial.removeLast() }
        if !partial.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) { lines.append(Line(number: number, text: partial)) }
      }
      partial = Data()
      isTooLong = false
    }
  }
}
