import GRDB
import Warren

/// How far a named reader has come: a row that moves in the transaction of the reader's own work, and only from where the
/// reader thinks that it is.
enum ReaderCheckpoint {
  /// Names are parts of file names.
  static func check(_ name: String, what: String) throws(StoreError) {
    let isAllowed = name.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d }
    guard isAllowed, (1...64).contains(name.utf8.count) else {
      throw StoreError(
        .invalidConfiguration, "the \(what) \"\(name.shown(64))\": a name has 1 to 64 characters of a-z, 0-9 and '-'")
    }
  }

  static func position(_ name: String, _ db: Database) throws -> Int64? {
    let select = try RawStatement("SELECT position FROM warren_readers WHERE name = ?", db)
    select.bind(1, name)
    guard try select.step() else { return nil }
    defer { select.reset() }
    return select.int(0)
  }

  static func insert(_ name: String, at position: Int64, _ db: Database) throws {
    try db.execute(
      sql: "INSERT INTO warren_readers VALUES (?, ?, 0, 0, ?)",
      arguments: [name, position, Int64(wallClockMilliseconds())])
  }

  static func remove(_ name: String, _ db: Database) throws {
    try db.execute(sql: "DELETE FROM warren_readers WHERE name = ?", arguments: [name])
    try db.execute(sql: "DELETE FROM warren_retaining WHERE reader = ?", arguments: [name])
    try db.execute(sql: "DELETE FROM warren_poison WHERE reader = ?", arguments: [name])
  }

  /// - Throws: ``StoreError`` with code ``StoreError/Code/checkpointMoved`` when the reader is somewhere else.
  static func move(_ name: String, from: Int64, to: Int64, events: Int, _ db: Database) throws {
    let update = try RawStatement(
      """
      UPDATE warren_readers SET position = ?1, rows = rows + ?2, moved = ?3 WHERE name = ?4 AND position = ?5
      """, db)
    update.bind(1, to)
    update.bind(2, Int64(events))
    update.bind(3, Int64(wallClockMilliseconds()))
    update.bind(4, name)
    update.bind(5, from)
    _ = try update.step()
    guard db.changesCount == 1 else {
      throw StoreError(
        .checkpointMoved, "the reader \(name) is not at \(from) any more: another process has moved it, or removed it",
        isRetryable: true)
    }
  }
}

/// Readers for which rows of the outbox are kept behind the relay. One that does not move for longer than it said itself has
/// lapsed: it stops nobody any more, and learns of it when it comes back.
enum RetainingReaders {
  static func insert(_ reader: String, patience: Duration, _ db: Database) throws {
    try db.execute(
      sql: """
        INSERT INTO warren_retaining VALUES (?1, ?2, 0) ON CONFLICT DO UPDATE SET patience = excluded.patience
        """, arguments: [reader, Int64(patience / .milliseconds(1))])
  }

  static func has(_ reader: String, _ db: Database) throws -> Bool {
    let select = try RawStatement("SELECT 1 FROM warren_retaining WHERE reader = ?", db)
    select.bind(1, reader)
    defer { select.reset() }
    return try select.step()
  }

  static func hasLapsed(_ reader: String, _ db: Database) throws -> Bool {
    try Bool.fetchOne(db, sql: "SELECT lapsed FROM warren_retaining WHERE reader = ?", arguments: [reader]) ?? false
  }

  /// Says that the reader lives, also when there is nothing for it to read.
  static func touch(_ reader: String, _ db: Database) throws {
    try db.execute(
      sql: "UPDATE warren_readers SET moved = ? WHERE name = ?", arguments: [Int64(wallClockMilliseconds()), reader])
  }

  /// Nothing behind it may be pruned; nil when nobody asks for that. Lets readers lapse whose time is over.
  static func floor(now: Int64, _ db: Database) throws -> Int64? {
    let any = try RawStatement("SELECT 1 FROM warren_retaining WHERE lapsed = 0 LIMIT 1", db)
    guard try any.step() else { return nil }
    any.reset()
    try db.execute(
      sql: """
        UPDATE warren_retaining SET lapsed = 1 WHERE lapsed = 0 AND EXISTS
          (SELECT 1 FROM warren_readers r WHERE r.name = reader AND r.moved < ?1 - patience
           AND r.position < (SELECT position FROM warren_head))
        """, arguments: [now])
    return try Int64.fetchOne(
      db,
      sql: """
        SELECT min(r.position) FROM warren_retaining JOIN warren_readers r ON r.name = reader WHERE lapsed = 0
        """)
  }
}
