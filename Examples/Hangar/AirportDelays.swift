import FlightEvents
import GRDB
import Warren
import WarrenStore

/// How late flights leave each airport: a table that is made of events and can be made anew from them.
///
/// The second version also counts cancelled flights. It is built beside the first one, and takes its place.
struct AirportDelays: Projection {
  let name = "airport-delays"
  var version: Int
  let eventTypes = FlightEvent.readTypes

  func create(_ context: ProjectionContext) throws {
    try context.db.execute(
      sql: """
        CREATE TABLE \(context.table("airport_delays")) (
          airport TEXT PRIMARY KEY, departed INTEGER NOT NULL DEFAULT 0, minutes INTEGER NOT NULL DEFAULT 0
          \(version >= 2 ? ", cancelled INTEGER NOT NULL DEFAULT 0" : ""))
        """)
  }

  func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
    let table = context.table("airport_delays")
    switch try event.decoded(as: FlightEvent.self) {
    case .departed(let departure):
      try context.db.execute(
        sql: """
          INSERT INTO \(table) (airport, departed, minutes) VALUES (?1, 1, ?2)
          ON CONFLICT DO UPDATE SET departed = departed + 1, minutes = minutes + ?2
          """, arguments: [departure.flight.origin, departure.departureDelayMinutes])
    case .cancelled(let flight):
      guard version >= 2 else { return }
      try context.db.execute(
        sql:
          "INSERT INTO \(table) (airport, cancelled) VALUES (?1, 1) ON CONFLICT DO UPDATE SET cancelled = cancelled + 1",
        arguments: [flight.origin])
    }
  }
}

/// The table as it is in the file right now, whichever version that is.
struct DelayRow: Equatable {
  var airport: String
  var departed: Int
  var minutes: Int
  /// Nil before the second version.
  var cancelled: Int?

  static func all(_ log: EventLog) async throws -> [DelayRow] {
    try await log.database.read { db in
      try Row.fetchAll(db, sql: "SELECT * FROM airport_delays ORDER BY airport").map { row in
        DelayRow(
          airport: row["airport"], departed: row["departed"], minutes: row["minutes"], cancelled: row["cancelled"])
      }
    }
  }

  var text: String {
    let mean = departed == 0 ? 0 : Double(minutes) / Double(departed)
    let tenths = Int((mean * 10).rounded())
    let cancelled = cancelled.map { "  \($0) cancelled" } ?? ""
    return "  \(airport)  \(departed) departed, \(tenths / 10).\(abs(tenths % 10)) minutes late\(cancelled)"
  }
}
