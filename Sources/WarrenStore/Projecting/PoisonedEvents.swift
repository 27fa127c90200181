import GRDB
import Warren

/// Events that a reader could not take: left out, or set aside with what follows them in their streams.
enum PoisonedEvents {
  enum State: String, CaseIterable {
    /// Left out.
    case skipped
    /// Set aside.
    case held
    /// Set aside because an earlier one of its stream is.
    case behind
    /// To be tried again.
    case retry
  }

  static func insert(_ reader: String, _ event: RecordedEvent, _ state: State, _ text: String, _ db: Database) throws {
    try db.execute(
      sql: "INSERT OR REPLACE INTO warren_poison VALUES (?, ?, ?, ?, ?, ?)",
      arguments: [
        reader, event.position.rawValue, event.stream.name, state.rawValue, text.shown(512),
        Int64(wallClockMilliseconds()),
      ])
  }

  /// How many there are, by state.
  static func counts(_ reader: String, _ db: Database) throws -> [String: Int] {
    var counts: [String: Int] = [:]
    let select = "SELECT state, count(*) AS n FROM warren_poison WHERE reader = ? GROUP BY state"
    for row in try Row.fetchAll(db, sql: select, arguments: [reader]) { counts[row["state"]] = row["n"] }
    return counts
  }

  /// Streams whose later events must wait.
  static func heldStreams(_ reader: String, _ db: Database) throws -> Set<StreamName> {
    let select = try RawStatement(
      "SELECT DISTINCT stream FROM warren_poison WHERE reader = ? AND state <> 'skipped'", db)
    select.bind(1, reader)
    var streams: Set<StreamName> = []
    while try select.step() { streams.insert(StreamName(trusted: select.text(0) ?? "")) }
    return streams
  }

  /// The oldest event that is to be tried again.
  static func nextRetry(_ reader: String, _ db: Database) throws -> RecordedEvent? {
    let select = try RawStatement(
      """
      SELECT \(RecordedEvent.columns) FROM warren_events WHERE position =
        (SELECT min(position) FROM warren_poison WHERE reader = ? AND state = 'retry')
      """, db)
    select.bind(1, reader)
    guard try select.step() else { return nil }
    defer { select.reset() }
    return try RecordedEvent(select)
  }

  /// It was taken after all. What has come behind it meanwhile is tried too: nobody else would ask for that.
  static func taken(_ reader: String, _ event: RecordedEvent, _ db: Database) throws {
    try db.execute(
      sql: "DELETE FROM warren_poison WHERE reader = ? AND position = ?", arguments: [reader, event.position.rawValue])
    try db.execute(
      sql: "UPDATE warren_poison SET state = 'retry' WHERE reader = ? AND stream = ? AND state = 'behind'",
      arguments: [reader, event.stream.name])
  }

  /// It failed again: back to what it was, and what follows it in its stream waits behind it.
  static func failedAgain(
    _ reader: String, _ event: RecordedEvent, _ handling: PoisonHandling, _ text: String, _ db: Database
  )
    throws
  {
    try insert(reader, event, handling == .skip ? .skipped : .held, text, db)
    try db.execute(
      sql: "UPDATE warren_poison SET state = ? WHERE reader = ? AND stream = ? AND state = 'retry'",
      arguments: [handling == .skip ? "skipped" : "behind", reader, event.stream.name])
  }

  static func retryAll(_ reader: String, _ db: Database) throws -> Int {
    try db.execute(
      sql: "UPDATE warren_poison SET state = 'retry' WHERE reader = ? AND state <> 'retry'", arguments: [reader])
    return db.changesCount
  }
}
