import Foundation
import Logging
import Warren
import WarrenRabbitMQ

/// Runs a subscriber while `body` runs, ready before it begins. Then lets the handlers that run end and their
/// acknowledgements leave, so that what is in the queues afterwards was not handled.
func whileConsuming<R: Sendable>(
  _ subscriber: Subscriber, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> R
) async throws -> R {
  let running = Task { try await subscriber.run() }
  do {
    try await subscriber.waitUntilReady(timeout: .seconds(20))
    let result = try await body()
    try await subscriber.pause()
    running.cancel()
    try await running.value
    return result
  } catch {
    running.cancel()
    if case .failure(let reason) = await running.result { throw reason }
    throw error
  }
}

extension Subscriber {
  /// True when it neither consumes nor is about to end before the handlers that run have ended: a broker counts a consumer
  /// of a quorum queue until then.
  func isStopping() async -> Bool {
    do throws(RabbitMQError) {
      try await waitUntilReady(timeout: .milliseconds(1))
      return false
    } catch {
      return error.code == .timedOut
    }
  }
}

/// A logger whose lines a test can wait for.
struct LogCatcher: Sendable {
  private let lines = Watched<[String]>([])

  var logger: Logger { Logger(label: "caught") { _ in Handler(lines: lines) } }

  /// False when no line contains `text` within `timeout`.
  func wait(for text: String, timeout: Duration = .seconds(10)) async -> Bool {
    await lines.wait(timeout: timeout) { $0.contains { $0.contains(text) } } != nil
  }

  private struct Handler: LogHandler {
    let lines: Watched<[String]>
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.update { $0.append("\(event.message)") } }
  }
}
