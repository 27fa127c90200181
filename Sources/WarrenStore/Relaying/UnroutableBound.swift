import GRDB

/// Entries that nobody is bound for are kept for a time and up to a number; what is removed then leaves a counted record.
enum UnroutableBound {
  private static let perTurn = 1000

  static func isPassed(oldest: Int64, most: Int, _ db: Database) throws -> Bool {
    try Bool.fetchOne(
      db,
      sql: """
        SELECT EXISTS (SELECT 1 FROM warren_held WHERE cause = 'unroutable'
        GROUP BY exchange HAVING count(*) > ? OR min(since) < ?)
        """, arguments: [most, oldest]) ?? false
  }

  static func apply(oldest: Int64, most: Int, now: Int64, _ db: Database) throws {
    let exchanges = try Row.fetchAll(
      db, sql: "SELECT exchange, count(*) AS n FROM warren_held WHERE cause = 'unroutable' GROUP BY exchange")
    for row in exchanges {
      let exchange: String = row["exchange"]
      let count: Int = row["n"]
      let positions = try Int64.fetchAll(
        db,
        sql: """
          SELECT position FROM warren_held WHERE cause = 'unroutable' AND exchange = ?1 AND since < ?2
          UNION SELECT * FROM (SELECT position FROM warren_held WHERE cause = 'unroutable' AND exchange = ?1
            ORDER BY position LIMIT ?3)
          ORDER BY position LIMIT ?4
          """, arguments: [exchange, oldest, max(0, count - most), perTurn])
      try HeldEntries.drop(positions, reason: "unroutable", now: now, db)
    }
  }
}
