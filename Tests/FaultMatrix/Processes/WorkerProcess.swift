import ArgumentParser
import Foundation
import GRDB
import Logging
import ServiceLifecycle
import UnixSignals
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Handles the publisher's events twice: through the inbox of a store, in order, and without a store, with retries over the
/// broker. Some events fail at first, in both.
struct WorkerProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)
  @Option var store: String
  @Option var ledger: String

  private struct NotYet: Error, CustomStringConvertible { var description: String { "not yet" } }

  func run() async throws {
    LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
    FullDisk.stands(for: store)
    var storeOptions = EventLog.Options()
    storeOptions.busyTimeout = .milliseconds(500)
    let log = try EventLog(path: store, source: "matrix-worker", options: storeOptions)
    try await log.database.write { db in
      try db.execute(
        sql: "CREATE TABLE IF NOT EXISTS effect (run INTEGER, key INTEGER, number INTEGER, at INTEGER)")
      try db.execute(sql: "CREATE INDEX IF NOT EXISTS effect_run ON effect (run)")
    }
    let rabbit = try RabbitMQ(Settings.configuration())
    let (book, gate) = (Ledger(path: ledger), Watched(true))
    let service = try ServiceName("matrix-\(Shared.session)")
    var options = Subscriber.Options()
    options.gracePeriod = .seconds(2)
    // Store errors count as failures of the handler.
    options.retry = RetryPolicy(delays: Array(repeating: .milliseconds(100), count: 100))
    options.retryLadder = [.milliseconds(100)]
    let once = Subscriber(rabbit, service: service, options: options) {
      log.inbox.on(Tick.self) { tick, context in
        book.note(.begun, tick)
        try await Self.pass(gate)
        if tick.number % 9 == 4, context.attempt == 1 { throw NotYet() }
        context.onCommit { db in
          try db.execute(
            sql: "INSERT INTO effect VALUES (?, ?, ?, ?)", arguments: [tick.run, tick.key, tick.number, tick.at])
        }
      }.orderedByKey()
    }
    let plain = Subscriber(rabbit, service: service, subscription: Shared.subscription, options: options) {
      On(Tick.self) { tick, context in
        book.note(.begunPlain, tick)
        try await Self.pass(gate)
        if tick.number % 7 == 3, context.attempt == 1 { throw NotYet() }
        book.note(.handled, tick)
      }
    }
    try await ServiceGroup(
      services: [rabbit, once, plain, Commands(subscribers: [once, plain], gate: gate)],
      gracefulShutdownSignals: [.sigterm], logger: Logger(label: "worker")
    ).run()
  }

  /// Handlers wait here in the phase `handling`.
  private static func pass(_ gate: Watched<Bool>) async throws {
    if gate.value { return }
    guard await gate.wait(timeout: .seconds(120), until: { $0 }) != nil else { throw CancellationError() }
  }

  private struct Commands: Service {
    let subscribers: [Subscriber]
    let gate: Watched<Bool>

    func run() async throws {
      await cancelWhenGracefulShutdown {
        for subscriber in subscribers { try? await subscriber.waitUntilReady(timeout: .seconds(60)) }
        Shared.say("ready")
        for await words in Shared.commands() {
          switch words.first {
          case "close": gate.update { $0 = false }
          case "open": gate.update { $0 = true }
          case "full": FullDisk.set(true)
          case "roomy": FullDisk.set(false)
          default: break
          }
          Shared.say("done \(words.first ?? "")")
        }
      }
    }
  }
}
