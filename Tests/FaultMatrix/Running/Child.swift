import BrokerFixture
import Foundation
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A publisher or a worker in a process of its own, with what it says.
final class Child: Sendable {
  let processID: Int32
  private let lines = Watched<[String]>([])
  private let ended = Watched<Int32?>(nil)
  private let input: Lock<FileHandle>

  init(_ arguments: [String], environment: [String: String], log: String) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let (output, input) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardInput = input
    if !FileManager.default.fileExists(atPath: log) { _ = FileManager.default.createFile(atPath: log, contents: nil) }
    let errors = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    try errors.seekToEnd()
    process.standardError = errors
    process.terminationHandler = { [ended] process in
      let isSignal = process.terminationReason == .uncaughtSignal
      ended.update { $0 = isSignal ? -process.terminationStatus : process.terminationStatus }
    }
    let rest = Lock(Data())
    output.whenReadable { [lines] data in
      if data.isEmpty { return }
      let whole = rest.withLock { rest -> [String] in
        rest.append(data)
        guard let end = rest.lastIndex(of: 0x0a) else { return [] }
        defer { rest = Data(rest[(end + 1)...]) }
        return String(decoding: rest[..<end], as: UTF8.self).split(separator: "\n").map(String.init)
      }
      lines.update { $0 += whole }
    }
    self.input = Lock(input.fileHandleForWriting)
    try process.run()
    try? errors.close()
    processID = process.processIdentifier
  }

  var isRunning: Bool { ended.value == nil }

  func tell(_ line: String) { input.withLock { try? $0.write(contentsOf: Data("\(line)\n".utf8)) } }

  /// The answer that begins so; nil when it does not come.
  func ask(_ line: String, for answer: String, within timeout: Duration) async -> String? {
    let said = lines.value.count
    tell(line)
    return await lines.wait(timeout: timeout) { $0.dropFirst(said).contains { $0.hasPrefix(answer) } }?
      .dropFirst(said).first { $0.hasPrefix(answer) }
  }

  func waitUntilReady(within timeout: Duration) async -> Bool {
    await lines.wait(timeout: timeout) { $0.contains("ready") } != nil
  }

  func signal(_ number: Int32) { kill(processID, number) }

  /// Its exit status, or the signal that ended it with a minus; nil when it goes on.
  func end(within timeout: Duration) async -> Int32? { await ended.wait(timeout: timeout) { $0 != nil } ?? nil }

  /// The connections' threads and the TCP sockets of the process, and its resident memory.
  var holdings: Holdings {
    let files = FileManager.default
    // To its end: these files have no size that could be asked for, and come in pieces.
    func text(_ path: String) -> String {
      let bytes = FileHandle(forReadingAtPath: path).flatMap { try? $0.readToEnd() }
      return String(decoding: bytes ?? Data(), as: UTF8.self)
    }
    let tasks = (try? files.contentsOfDirectory(atPath: "/proc/\(processID)/task")) ?? []
    let descriptors = (try? files.contentsOfDirectory(atPath: "/proc/\(processID)/fd")) ?? []
    let targets = descriptors.compactMap {
      try? files.destinationOfSymbolicLink(atPath: "/proc/\(processID)/fd/\($0)")
    }
    let tcp = Set(
      (text("/proc/\(processID)/net/tcp") + text("/proc/\(processID)/net/tcp6")).split(whereSeparator: \.isWhitespace))
    let fields = text("/proc/\(processID)/statm").split(separator: " ")
    return Holdings(
      threads: tasks.count { text("/proc/\(processID)/task/\($0)/comm").hasPrefix("warren-amqp") },
      // A connection's socket has two descriptors, one of them for the emergency exit.
      sockets: Set(targets.filter { $0.hasPrefix("socket:[") && tcp.contains($0.dropFirst(8).dropLast()) }).count,
      descriptors: targets.count,
      wakeups: targets.count { $0.contains("[eventfd]") },
      kilobytes: fields.count > 1 ? (Int(fields[1]) ?? 0) * 4 : 0)
  }
}

/// What a process holds.
struct Holdings: Sendable, CustomStringConvertible {
  var threads = 0
  var sockets = 0
  var descriptors = 0
  var wakeups = 0
  var kilobytes = 0

  var description: String {
    "\(threads) threads of connections, \(sockets) sockets, \(descriptors) descriptors in all, \(wakeups) wake-up descriptors, \(kilobytes) kB"
  }

  /// Memory has its own bound.
  func exceeds(_ other: Holdings) -> Bool {
    threads > other.threads || sockets > other.sockets || descriptors > other.descriptors || wakeups > other.wakeups
  }
}
