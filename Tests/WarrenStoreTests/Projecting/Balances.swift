import GRDB
import Warren
import WarrenSupport

@testable import WarrenStore

struct Rich: Event, Hashable {
  static let eventType: EventType = "account.rich"
  var stream: String
  var version: Int64
}

/// The balance of each account, and how many events it has seen of each: more than one of a kind would show.
struct Balances: Projection {
  let name = "balances"
  var version = 1
  let eventTypes = AccountEvent.readTypes
  /// Tells each deposit to the world.
  var tells = false
  /// Throws at deposits of this amount while it says so.
  var poison = Lock(0)
  /// What differs in another version.
  var factor = 1
  struct Bad: Error {}

  func create(_ context: ProjectionContext) throws {
    try context.db.execute(
      sql: """
        CREATE TABLE \(context.table("balances")) (account TEXT PRIMARY KEY, cents INTEGER, events INTEGER, version INTEGER);
        CREATE INDEX \(context.table("balances_cents")) ON \(context.table("balances")) (cents)
        """)
  }

  func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
    var cents = 0
    switch try event.decoded(as: AccountEvent.self) {
    case .opened: break
    case .deposited(let amount):
      // Something is written first, which must be taken back.
      try add(event, amount * factor, context)
      if amount != 0, amount == poison.withLock({ $0 }) { throw Bad() }
      if tells { try context.record(Rich(stream: event.stream.name, version: event.version)) }
      return
    case .withdrawn(let amount): cents = -amount * factor
    }
    try add(event, cents, context)
  }

  private func add(_ event: RecordedEvent, _ cents: Int, _ context: ProjectionContext) throws {
    try context.db.execute(
      sql: """
        INSERT INTO \(context.table("balances")) VALUES (?1, ?2, 1, ?3)
        ON CONFLICT DO UPDATE SET cents = cents + ?2, events = events + 1, version = ?3
        """, arguments: [event.stream.name, cents, event.version])
  }
}

extension EventLog {
  func balance(_ stream: String) async throws -> Int? {
    try await database.read {
      try Int.fetchOne($0, sql: "SELECT cents FROM balances WHERE account = ?", arguments: [stream])
    }
  }

  func balances() async throws -> [String] {
    try await database.read { db in
      try Row.fetchAll(db, sql: "SELECT * FROM balances ORDER BY account").map {
        "\($0["account"] as String) \($0["cents"] as Int) \($0["events"] as Int) \($0["version"] as Int)"
      }
    }
  }

  func deposit(_ cents: Int..., to stream: StreamName) async throws -> LogPosition {
    try await append(cents.map { AccountEvent.deposited(cents: $0) }, to: stream).position
  }
}

/// Runs a projector while `body` runs.
func withProjector<R>(
  _ log: EventLog, _ projection: any Projection, poison: PoisonHandling = .stop,
  isolation: isolated (any Actor)? = #isolation, _ body: (Projector) async throws -> R
) async throws -> R {
  var options = Projector.Options()
  options.poison = poison
  let projector = log.projector(projection, options: options)
  let running = Task { try await projector.run() }
  do {
    let result = try await body(projector)
    running.cancel()
    try await running.value
    return result
  } catch {
    running.cancel()
    _ = await running.result
    throw error
  }
}
