import GRDB
import Warren

/// Events that are recorded now and get their position when they are due: a table of its own, so that neither the relay nor
/// pruning nor order needs a rule for them. Cancelling is deleting.
enum ScheduledEntries {
  static func insert(_ row: EventRow, due: Int64, _ db: Database) throws {
    let insert = try RawStatement(EventRow.insertScheduled, db)
    row.bind(to: insert, position: nil, recordedAt: Int64(wallClockMilliseconds()))
    insert.bind(EventRow.columnCount + 1, due)
    _ = try insert.step()
  }

  static func cancel(_ id: EventID, _ db: Database) throws -> Bool {
    try db.cachedStatement(sql: "DELETE FROM warren_scheduled WHERE id = ?").execute(arguments: [id.text])
    return db.changesCount > 0
  }

  static func nextDue(_ db: Database) throws -> Int64? {
    try Int64.fetchOne(db, sql: "SELECT min(due) FROM warren_scheduled")
  }

  /// Appends what is due, in the order of due times, at most so many.
  static func appendDue(now: Int64, limit: Int, _ db: Database) throws -> Int {
    let select = try RawStatement(
      "SELECT \(EventRow.columns) FROM warren_scheduled WHERE due <= ? ORDER BY due, position LIMIT ?", db)
    select.bind(1, now)
    select.bind(2, Int64(limit))
    var rows: [EventRow] = []
    var done: [Int64] = []
    while try select.step() {
      done.append(select.int(0))
      rows.append(try EventRow(try EventRow.event(select), maximumBodySize: .max))
    }
    guard !rows.isEmpty else { return 0 }
    _ = try Head.append(rows, bounds: Bounds(), db)
    for row in done {
      try db.cachedStatement(sql: "DELETE FROM warren_scheduled WHERE position = ?").execute(arguments: [row])
    }
    return rows.count
  }
}
