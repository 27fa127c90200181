import GRDB
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The table of deliveries that wait. `due` is null for those behind another one of their key.
enum ParkedRows {
  static let schema = [
    """
    CREATE TABLE warren_parked (
      position INTEGER PRIMARY KEY, queue TEXT NOT NULL, key TEXT, due INTEGER, message BLOB NOT NULL)
    """,
    "CREATE INDEX warren_parked_due ON warren_parked (queue, due) WHERE due IS NOT NULL",
    "CREATE INDEX warren_parked_key ON warren_parked (queue, key, position) WHERE key IS NOT NULL",
  ]

  struct Row: Sendable {
    var position: Int64
    var delivery: ParkedDelivery
  }

  static func insert(_ delivery: ParkedDelivery, due: Int64?, _ db: Database) throws {
    try db.cachedStatement(sql: "INSERT INTO warren_parked (queue, key, due, message) VALUES (?, ?, ?, ?)")
      .execute(arguments: [delivery.queue, delivery.key, due, delivery.message])
  }

  static func isBlocked(queue: String, key: String, _ db: Database) throws -> Bool {
    try Bool.fetchOne(
      db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM warren_parked WHERE queue = ? AND key = ?)"),
      arguments: [queue, key]) ?? false
  }

  static func due(queue: String, now: Int64, limit: Int, _ db: Database) throws -> [Row] {
    try GRDB.Row.fetchAll(
      db.cachedStatement(
        sql: """
          SELECT position, key, due, message FROM warren_parked
          WHERE queue = ? AND due <= ? ORDER BY due, position LIMIT ?
          """), arguments: [queue, now, limit]
    ).map { row in
      Row(
        position: row[0],
        delivery: ParkedDelivery(
          queue: queue, key: row[1], message: row[3], due: Date(milliseconds: row[2])))
    }
  }

  static func nextDue(queue: String, after now: Int64, _ db: Database) throws -> Int64? {
    try Int64.fetchOne(
      db.cachedStatement(sql: "SELECT min(due) FROM warren_parked WHERE queue = ? AND due > ?"),
      arguments: [queue, now])
  }

  /// The next one of its key becomes due.
  static func remove(_ row: Row, _ db: Database) throws {
    try db.cachedStatement(sql: "DELETE FROM warren_parked WHERE position = ?").execute(arguments: [row.position])
    guard let key = row.delivery.key else { return }
    try db.cachedStatement(
      sql: """
        UPDATE warren_parked SET due = ? WHERE due IS NULL AND position =
          (SELECT min(position) FROM warren_parked WHERE queue = ? AND key = ?)
        """
    ).execute(arguments: [Int64(wallClockMilliseconds()), row.delivery.queue, key])
  }

  static func replace(_ row: Row, with next: ParkedDelivery, _ db: Database) throws {
    try db.cachedStatement(sql: "UPDATE warren_parked SET due = ?, message = ? WHERE position = ?")
      .execute(arguments: [next.due.milliseconds, next.message, row.position])
  }

  static func postpone(_ row: Row, until due: Int64, _ db: Database) throws {
    try db.cachedStatement(sql: "UPDATE warren_parked SET due = ? WHERE position = ?")
      .execute(arguments: [due, row.position])
  }

  static func count(queue: String?, _ db: Database) throws -> Int {
    try Int.fetchOne(
      db, sql: "SELECT count(*) FROM warren_parked WHERE ?1 IS NULL OR queue = ?1", arguments: [queue]) ?? 0
  }
}
