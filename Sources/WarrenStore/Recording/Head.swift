import GRDB
import Warren

/// The head row: where positions come from.
///
/// It is read and written by SQL in the transaction that uses the positions, so it goes up and down with it: a rolled back
/// savepoint, a raw COMMIT in the middle, another process: none of them needs a rule of its own.
enum Head {
  // Writing comes first, so that a deferred transaction takes the write lock at once instead of failing when it has to
  // upgrade. Not one statement with RETURNING: SQLite makes a temporary table for it.
  private static let move = "UPDATE warren_head SET position = position + ?1, rows = rows + ?2, bytes = bytes + ?3"
  private static let allocated = "SELECT position, rows, bytes FROM warren_head"

  /// Writes entries into the outbox and returns the position of the first; the others follow.
  static func append(_ rows: some Collection<EventRow>, bounds: Bounds, _ db: Database) throws -> Int64 {
    let first = try allocate(
      rows.count, toPublish: (rows: rows.count, bytes: rows.reduce(0) { $0 + $1.size }), bounds: bounds, db)
    let now = Int64(wallClockMilliseconds())
    let insert = try RawStatement(EventRow.insertOutbox, db)
    var position = first
    for row in rows {
      row.bind(to: insert, position: position, recordedAt: now)
      _ = try insert.step()
      position += 1
    }
    return first
  }

  /// Takes so many positions and returns the first. What of it is to be published counts in the backlog.
  static func allocate(
    _ count: Int, toPublish: (rows: Int, bytes: Int64), bounds: Bounds, _ db: Database
  ) throws -> Int64 {
    try move(by: Int64(count), rows: Int64(toPublish.rows), bytes: toPublish.bytes, db)
    let result = try RawStatement(allocated, db)
    guard try result.step() else {
      throw StoreError(.corrupted, "the table warren_head is empty: restore the file from a copy")
    }
    let last = result.int(0)
    let recorded = (rows: result.int(1), bytes: result.int(2))
    result.reset()
    do {
      if toPublish.rows > 0 { try bounds.check(recorded, db) }
    } catch {
      // The user's transaction may go on, and must not count what it has not recorded.
      try move(by: -Int64(count), rows: -Int64(toPublish.rows), bytes: -toPublish.bytes, db)
      throw error
    }
    return last - Int64(count) + 1
  }

  private static func move(by count: Int64, rows: Int64, bytes: Int64, _ db: Database) throws {
    let statement = try RawStatement(move, db)
    statement.bind(1, count)
    statement.bind(2, rows)
    statement.bind(3, bytes)
    _ = try statement.step()
  }
}

/// What recording may use at most, where the user has set it.
struct Bounds: Sendable {
  var rows: Int?
  var bytes: Int?

  var areNone: Bool { rows == nil && bytes == nil }

  /// - Throws: ``StoreError`` with code ``StoreError/Code/full``.
  func check(_ recorded: (rows: Int64, bytes: Int64), _ db: Database) throws {
    guard !areNone else { return }
    let statement = try RawStatement("SELECT rows, bytes FROM warren_readers WHERE name = 'relay'", db)
    guard try statement.step() else { return }
    let backlog = (rows: recorded.rows - statement.int(0), bytes: recorded.bytes - statement.int(1))
    statement.reset()
    if let rows, backlog.rows > rows {
      throw StoreError(
        .full,
        "\(backlog.rows) events would wait for the broker and maximumBacklogRows is \(rows): is the relay running?",
        isRetryable: true)
    }
    if let bytes, backlog.bytes > bytes {
      throw StoreError(
        .full,
        "\(backlog.bytes) bytes would wait for the broker and maximumBacklogBytes is \(bytes): is the relay running?",
        isRetryable: true)
    }
  }
}
