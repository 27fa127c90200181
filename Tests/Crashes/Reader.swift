import ArgumentParser
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Handles the writer's events through an inbox, and is killed. Says `ready` when it consumes.
struct Reader: AsyncParsableCommand {
  @Option var store: String
  /// Decides the form of the handler.
  @Option var seed: UInt64
  @Flag var classic = false

  func run() async throws {
    let log = try EventLog(path: store, source: "crash-reader")
    try await log.database.write {
      try $0.execute(sql: "CREATE TABLE IF NOT EXISTS effect (key INTEGER, number INTEGER)")
    }
    let rabbit = try RabbitMQ(url: Shared.url)
    let subscriber = Subscriber(rabbit, service: Shared.service) {
      handler(log)
    }
    let connecting = Task { try await rabbit.run() }
    let consuming = Task { try await subscriber.run() }
    try await subscriber.waitUntilReady()
    FileHandle.standardOutput.write(Data("ready\n".utf8))
    try await consuming.value
    try await connecting.value
  }

  /// One at a time, so that the order of the effects is the order of the deliveries.
  private func handler(_ log: EventLog) -> InboxHandler {
    let queue = QueueOptions(concurrency: 1, kind: classic ? .classicWithWeakerGuarantees : .quorum)
    let insert: @Sendable (CrashEvent, Database) throws -> Void = { event, db in
      try db.execute(sql: "INSERT INTO effect VALUES (?, ?)", arguments: [event.key, event.number])
    }
    switch seed % 3 {
    case 0: return log.inbox.on(CrashEvent.self, queue: queue) { event, db, _ in try insert(event, db) }
    case 1:
      return log.inbox.on(CrashEvent.self, queue: queue) { event, context in
        context.onCommit { try insert(event, $0) }
      }
    default:
      return log.inbox.onBatch(CrashEvent.self, queue: queue, patience: .zero) { batch, db in
        for (event, _) in batch { try insert(event, db) }
      }
    }
  }
}
