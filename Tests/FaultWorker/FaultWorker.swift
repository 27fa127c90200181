import Foundation
import Logging
import ServiceLifecycle
import UnixSignals
import Warren
import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A worker that the fault tests kill: `FaultWorker SERVICE FILE [CULPRIT]`. Writes the number of each event that it has
/// handled as a line to the file, and `ready` to standard output. It ends itself when it handles the number CULPRIT.
///
/// With `WARREN_WORKER=fails` handlers throw in their first round, to be tried again 100 ms later; with `stands` they write
/// their line and do not end.
@main
struct FaultWorker {
  struct Note: Event {
    static let eventType: EventType = "worker.note"
    var number: Int
  }

  /// Handled slowly, so that one of them is under way whenever the process ends.
  struct Other: Event {
    static let eventType: EventType = "worker.other"
    var number: Int
  }

  struct NotYet: Error {}

  static func main() async throws {
    let arguments = CommandLine.arguments
    guard (3...4).contains(arguments.count), let url = ProcessInfo.processInfo.environment["RABBITMQ_URL"] else {
      exit(64)
    }
    let file = open(arguments[2], O_WRONLY | O_CREAT | O_APPEND, 0o644)
    guard file >= 0 else { exit(74) }
    var logger = Logger(label: "worker")
    logger.logLevel = .critical
    let culprit = arguments.count > 3 ? Int(arguments[3]) : nil
    let rabbit = try RabbitMQ(RabbitMQConfiguration(url: url), logger: logger)
    let manner = ProcessInfo.processInfo.environment["WARREN_WORKER"]
    var options = Subscriber.Options()
    options.retryLadder = [.milliseconds(100)]
    options.retry = RetryPolicy(delays: [.milliseconds(100)])
    let subscriber = Subscriber(rabbit, service: try ServiceName(arguments[1]), options: options, logger: logger) {
      On(Note.self) { note, context in
        if note.number == culprit { abort() }
        if manner == "fails", context.attempt == 1 { throw NotYet() }
        try await Task.sleep(for: .microseconds(Int.random(in: 0...4000)))
        write("\(note.number)", to: file)
        if manner == "stands" { try await Task.sleep(for: .seconds(3600)) }
      }
      if culprit != nil {
        On(Other.self) { other, _ in
          try await Task.sleep(for: .milliseconds(300))
          write("other \(other.number)", to: file)
        }
      }
    }
    let watching = Task {
      try await subscriber.waitUntilReady()
      print("ready")
      fflush(nil)
    }
    let group = ServiceGroup(
      services: [rabbit, subscriber], gracefulShutdownSignals: [.sigterm], logger: logger)
    try await group.run()
    watching.cancel()
  }

  /// One write, so that a kill leaves no half line.
  private static func write(_ line: String, to file: Int32) {
    let bytes = Array("\(line)\n".utf8)
    #if canImport(Glibc)
      _ = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    #elseif canImport(Musl)
      _ = bytes.withUnsafeBytes { Musl.write(file, $0.baseAddress, $0.count) }
    #else
      _ = bytes.withUnsafeBytes { Darwin.write(file, $0.baseAddress, $0.count) }
    #endif
  }
}
