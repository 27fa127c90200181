import ArgumentParser
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Handles the writer's events through an inbox, and is killed. Says `ready` when it consumes.
struct Reader: AsyncParsableCommand {
  @Option var store: String

  func run() async throws {
    let log = try EventLog(path: store, source: "crash-reader")
    try await log.database.write {
      try $0.execute(sql: "CREATE TABLE IF NOT EXISTS effect (key INTEGER, number INTEGER)")
    }
    let rabbit = try RabbitMQ(url: Shared.url)
    let subscriber = Subscriber(rabbit, service: Shared.service) {
      // One at a time, so that the order of the effects is the order of the deliveries.
      log.inbox.on(CrashEvent.self, queue: .init(concurrency: 1)) { event, db, _ in
        try db.execute(sql: "INSERT INTO effect VALUES (?, ?)", arguments: [event.key, event.number])
      }
    }
    let connecting = Task { try await rabbit.run() }
    let consuming = Task { try await subscriber.run() }
    try await subscriber.waitUntilReady()
    FileHandle.standardOutput.write(Data("ready\n".utf8))
    try await consuming.value
    try await connecting.value
  }
}
