import GRDB
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The relay's questions and answers in SQL.
enum RelayFile {
  struct Beginning: Sendable {
    var checkpoint: Int64
    var held: [(lane: Lane, reason: HoldReason, count: Int, nextTry: Int64?)]
    /// Raised whenever an operator changes held entries.
    var generation: Int64
  }
  struct Page: Sendable {
    var entries: [RelayMachine.Entry] = []
    /// Nil for a row that cannot be read: it must not stop the others.
    var events: [EncodedEvent?] = []
    var through: Int64 = 0
    /// There is more behind it.
    var isPart = false
    var generation: Int64 = 0
  }
  static let pageRows = 1000
  static let pageBytes = 4 << 20

  static func begin(_ db: Database) throws -> Beginning {
    let checkpoint = try Int64.fetchOne(db, sql: "SELECT position FROM warren_readers WHERE name = 'relay'")
    guard let checkpoint else {
      throw StoreError(.corrupted, "the table warren_readers has no row for the relay: restore the file from a copy")
    }
    var held: [(lane: Lane, reason: HoldReason, count: Int, nextTry: Int64?)] = []
    let lanes = try RawStatement(
      """
      SELECT exchange, key, reason, next_try, n FROM warren_held JOIN
        (SELECT min(position) AS oldest, count(*) AS n FROM warren_held
         WHERE reason <> 'discarded' AND (key IS NOT NULL OR reason <> 'refused') GROUP BY exchange, key)
      ON position = oldest
      """, db)
    while try lanes.step() {
      let lane = Lane(exchange: lanes.text(0) ?? "", key: lanes.text(1))
      let reason = HoldReason(rawValue: lanes.text(2) ?? "") ?? .refused
      let nextTry = lanes.optionalInt(3) ?? (reason == .refused ? nil : 0)
      held.append((lane, reason, Int(lanes.int(4)), nextTry))
    }
    return Beginning(checkpoint: checkpoint, held: held, generation: try generation(db))
  }

  static func generation(_ db: Database) throws -> Int64 {
    try Int64.fetchOne(db, sql: "SELECT value FROM warren_meta WHERE name = 'held'") ?? 0
  }

  // MARK: Reading

  private static func pageSQL(_ table: String, _ condition: String, index: String? = nil) -> String {
    """
    SELECT \(EventRow.columns), EXISTS (SELECT 1 FROM warren_held h WHERE h.position = e.position)
    FROM \(table) e \(index.map { "INDEXED BY \($0)" } ?? "") WHERE e.position > ? \(condition) ORDER BY e.position LIMIT \(pageRows)
    """
  }
  private static let sources = [
    pageSQL("warren_outbox", ""), pageSQL("warren_events", "AND e.exchange IS NOT NULL", index: "warren_events_public"),
  ]

  /// Entries behind a position, from both tables, in one order.
  static func page(_ db: Database, after: Int64) throws -> Page {
    var page = Page(generation: try generation(db))
    page.through = max(after, try Int64.fetchOne(db, sql: "SELECT position FROM warren_head") ?? after)
    guard page.through > after else { return page }
    var found: [(RelayMachine.Entry, EncodedEvent?)] = []
    for sql in sources {
      let rows = try RawStatement(sql, db)
      rows.bind(1, after)
      var count = 0
      var bytes = 0
      while try rows.step() {
        let position = rows.int(0)
        let (entry, event) = try entry(rows)
        found.append((entry, event))
        count += 1
        bytes += entry.size
        if count == pageRows || bytes >= pageBytes {
          // Behind this one there may be more.
          page.through = min(page.through, position)
          page.isPart = true
          rows.reset()
          break
        }
      }
    }
    found.sort { $0.0.position < $1.0.position }
    for (entry, event) in found where entry.position <= page.through {
      page.entries.append(entry)
      page.events.append(event)
    }
    return page
  }

  private static func entry(_ row: RawStatement) throws -> (RelayMachine.Entry, EncodedEvent?) {
    let event = try? EventRow.event(row)
    let size = row.byteCount(19) + row.byteCount(18)
    let isAside = row.int(EventRow.columnCount) != 0
    let lane = Lane(exchange: row.text(1) ?? "", key: row.text(8))
    return (.init(position: row.int(0), lane: lane, size: size, isAside: isAside), event)
  }

  /// The oldest held entries of a lane.
  static func held(_ db: Database, lane: Lane, limit: Int) throws -> Page {
    var page = Page()
    for table in ["warren_outbox", "warren_events"] {
      let rows = try RawStatement(
        """
        SELECT \(EventRow.columns.split(separator: ", ").map { "e.\($0)" }.joined(separator: ", ")), 0
        FROM warren_held h JOIN \(table) e ON e.position = h.position
        WHERE h.exchange = ? AND h.key IS ? AND h.reason <> 'discarded' AND (h.key IS NOT NULL OR h.reason <> 'refused')
        ORDER BY h.position LIMIT ?
        """, db)
      rows.bind(1, lane.exchange)
      rows.bind(2, lane.key)
      rows.bind(3, Int64(limit))
      while try rows.step() {
        let (entry, event) = try entry(rows)
        page.entries.append(entry)
        page.events.append(event)
      }
    }
    let order = page.entries.indices.sorted { page.entries[$0].position < page.entries[$1].position }.prefix(limit)
    page = Page(entries: order.map { page.entries[$0] }, events: order.map { page.events[$0] })
    return page
  }

  // MARK: Writing

  /// Writes a commit and removes what is done with, at most a thousand rows of it.
  /// - Parameter pruned: everything in the outbox up to here is removed or held.
  /// - Returns: the new `pruned`.
  static func write(_ commit: RelayCommit, prunedThrough pruned: Int64, now: Int64, _ db: Database) throws -> Int64 {
    let checkpoint = try RawStatement(
      """
      UPDATE warren_readers SET position = ?1, rows = rows + ?2, bytes = bytes + ?3, moved = ?4
      WHERE name = 'relay' AND position = ?5
      """, db)
    checkpoint.bind(1, commit.to)
    checkpoint.bind(2, Int64(commit.rows))
    checkpoint.bind(3, Int64(commit.bytes))
    checkpoint.bind(4, now)
    checkpoint.bind(5, commit.from)
    _ = try checkpoint.step()
    guard db.changesCount == 1 else {
      throw StoreError(
        .checkpointMoved, "the relay's checkpoint is not \(commit.from) any more: another process has moved it")
    }
    try write(held: commit.held, now: now, db)
    for change in commit.changed {
      try db.cachedStatement(sql: "UPDATE warren_held SET reason = ?, text = ?, next_try = ? WHERE position = ?")
        .execute(
          arguments: [change.reason.rawValue, change.text, change.delay.map { now + $0 }, change.position])
    }
    let floor = min(commit.to, try RetainingReaders.floor(now: now, db) ?? commit.to)
    for position in commit.released { try release(position, checkpoint: floor, db) }
    return try prune(from: pruned, to: floor, db)
  }

  private static func write(held: [RelayCommit.Held], now: Int64, _ db: Database) throws {
    guard !held.isEmpty else { return }
    let insert = try RawStatement("INSERT INTO warren_held VALUES (?, ?, ?, ?, ?, ?, ?, ?)", db)
    for row in held {
      insert.bind(1, row.position)
      insert.bind(2, row.lane.exchange)
      insert.bind(3, row.lane.key)
      insert.bind(4, row.reason.rawValue)
      insert.bind(5, row.cause.rawValue)
      insert.bind(6, row.text)
      insert.bind(7, now)
      insert.bind(8, row.delay.map { now + $0 })
      _ = try insert.step()
    }
  }

  /// Forgets a held entry. Its row in the outbox stays while the checkpoint, or a reader that the log keeps it for, is before
  /// it: pruning removes it there.
  static func release(_ position: Int64, checkpoint: Int64, _ db: Database) throws {
    try db.cachedStatement(sql: "DELETE FROM warren_held WHERE position = ?").execute(arguments: [position])
    if position <= checkpoint {
      try db.cachedStatement(sql: "DELETE FROM warren_outbox WHERE position = ?").execute(arguments: [position])
    }
  }

  private static func prune(from: Int64, to: Int64, _ db: Database) throws -> Int64 {
    guard to > from else { return from }
    let end = try RawStatement(
      "SELECT max(position), count(*) FROM (SELECT position FROM warren_outbox WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT 1000)",
      db)
    end.bind(1, from)
    end.bind(2, to)
    guard try end.step() else { return from }
    let (last, count) = (end.int(0), end.int(1))
    end.reset()
    if count == 0 { return to }
    let delete = try RawStatement(
      """
      DELETE FROM warren_outbox WHERE position > ?1 AND position <= ?2
      AND NOT EXISTS (SELECT 1 FROM warren_held h WHERE h.position = warren_outbox.position)
      """, db)
    delete.bind(1, from)
    delete.bind(2, last)
    _ = try delete.step()
    return count < 1000 ? to : last
  }
}
