import Foundation
import GRDB
import Warren
import WarrenStore

/// What the steps of each stream have come to, in a form in which a missing, doubled or misplaced one shows, in two tables
/// that must always say the same. Tells the world of each step, with the version that tells it.
struct Totals: Projection {
  struct Step: Event {
    static let eventType: EventType = "rebuild.step"
    var amount: Int
  }
  struct Told: Event {
    static let eventType: EventType = "rebuild.told"
    var stream: String
    var version: Int64
    var by: Int
    var isRebuilding: Bool
  }
  let name = "totals"
  let version: Int
  let eventTypes = [Step.eventType]

  func create(_ context: ProjectionContext) throws {
    try context.db.execute(
      sql: """
        CREATE TABLE \(context.table("totals")) (stream TEXT PRIMARY KEY, events INTEGER, trail INTEGER, factor INTEGER);
        CREATE TABLE \(context.table("totals_seen")) (events INTEGER, factor INTEGER);
        INSERT INTO \(context.table("totals_seen")) VALUES (0, \(version))
        """)
  }

  func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
    let amount = try event.decoded(as: Step.self).amount * version
    try context.db.execute(
      sql: """
        INSERT INTO \(context.table("totals")) VALUES (?1, 1, ?2, ?3)
        ON CONFLICT DO UPDATE SET events = events + 1, trail = (trail * 31 + ?2) % 1000003
        """, arguments: [event.stream.name, amount, version])
    try context.db.execute(sql: "UPDATE \(context.table("totals_seen")) SET events = events + 1")
    try context.record(
      Told(
        stream: event.stream.name, version: event.version, by: version, isRebuilding: context.isRebuilding))
  }
}

/// Builds a version of ``Totals``, and keeps it up to date until it is killed. Beside it a subscription writes each step into a
/// table, in the transaction of its checkpoint; all processes want to be its owner.
enum RebuildWork {
  static func run(_ file: String, version: Int) async throws {
    let log = try EventLog(path: file, source: "worker")
    let subscription = log.subscription("steps", to: [Totals.Step.eventType]) { events, db in
      for event in events {
        try db.execute(sql: "INSERT INTO steps VALUES (?)", arguments: [event.position.rawValue])
      }
    }
    let projector = log.projector(Totals(version: version))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await subscription.run() }
      group.addTask { try await projector.run() }
      try await group.waitForAll()
    }
  }
}
