import GRDB
import Warren

/// What an operator or a bound does with entries that the relay has set aside.
enum HeldEntries {
  /// Tells the relay, in whatever process, to look at the held entries anew.
  static func touch(_ db: Database) throws {
    try db.execute(sql: "UPDATE warren_meta SET value = value + 1 WHERE name = 'held'")
  }

  /// Removes entries and counts them. Those before the checkpoint go at once; the others keep a row that says so, until the
  /// checkpoint has passed them.
  static func drop(_ positions: [Int64], reason: String, now: Int64, _ db: Database) throws {
    guard !positions.isEmpty else { return }
    let checkpoint = try Int64.fetchOne(db, sql: "SELECT position FROM warren_readers WHERE name = 'relay'") ?? 0
    for position in positions {
      guard
        let exchange = try String.fetchOne(
          db, sql: "SELECT exchange FROM warren_held WHERE position = ?", arguments: [position])
      else { continue }
      let type = EntityNames.type(ofExchange: exchange)?.name ?? exchange
      try db.execute(
        sql: """
          INSERT INTO warren_dropped VALUES (?1, ?2, ?3, 1, ?4, ?4) ON CONFLICT DO UPDATE SET
          count = count + 1, first_position = min(first_position, ?4), last_position = max(last_position, ?4)
          """, arguments: [type, reason, now / 86_400_000, position])
      if position <= checkpoint {
        try RelayFile.release(position, checkpoint: checkpoint, db)
      } else {
        try db.execute(sql: "UPDATE warren_held SET reason = 'discarded' WHERE position = ?", arguments: [position])
      }
    }
    try touch(db)
  }

  private static let passed = """
    SELECT position FROM warren_held WHERE reason = 'discarded'
    AND position <= (SELECT position FROM warren_readers WHERE name = 'relay')
    """

  static func hasDiscarded(_ db: Database) throws -> Bool {
    try Bool.fetchOne(db, sql: "SELECT EXISTS (\(passed))") ?? false
  }

  /// Removes what was discarded before the checkpoint had passed it.
  static func removeDiscarded(_ db: Database) throws {
    for position in try Int64.fetchAll(db, sql: passed) { try RelayFile.release(position, checkpoint: position, db) }
  }

  /// Lets held entries be tried again at once.
  static func retry(_ positions: [Int64], _ db: Database) throws {
    for position in positions {
      try db.execute(
        sql: """
          UPDATE warren_held SET next_try = 0, reason = CASE reason WHEN 'refused' THEN 'behind' ELSE reason END
          WHERE position = ? AND reason <> 'discarded'
          """, arguments: [position])
    }
    try touch(db)
  }
}
