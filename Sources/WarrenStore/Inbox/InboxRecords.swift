import GRDB
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a service remembers of the events that it has handled.
enum InboxRecords {
  enum Admission: Sendable {
    case fresh
    case duplicate
    /// The id was used for another body.
    case reused
    /// Records of that age are gone, so nobody can say whether it was handled.
    case tooOld
  }

  /// Between a queue and the id of a replay. Names of queues have no blanks.
  static let replayMark = " replay "

  /// Looks whether an event was handled.
  static func look(_ key: InboxKey, _ db: Database) throws -> Admission {
    let found = try RawStatement(
      "SELECT hash FROM warren_inbox WHERE queue = ? AND source = ? AND type = ? AND id = ?", db)
    found.bind(1, key.queue)
    found.bind(2, key.source)
    found.bind(3, key.type)
    found.bind(4, key.id)
    if try found.step() {
      defer { found.reset() }
      // Known without a hash: one of the two was made by Warren.
      guard let hash = key.hash, !found.isNull(0) else { return .duplicate }
      return found.data(0) == hash ? .duplicate : .reused
    }
    guard let at = key.at else { return .fresh }
    let pruned = try RawStatement("SELECT through FROM warren_inbox_pruned WHERE queue = ?", db)
    pruned.bind(1, key.queue)
    guard try pruned.step() else { return .fresh }
    defer { pruned.reset() }
    return at <= pruned.int(0) ? .tooOld : .fresh
  }

  /// Remembers that it is handled.
  static func insert(_ key: InboxKey, now: Int64, _ db: Database) throws {
    let insert = try RawStatement("INSERT INTO warren_inbox VALUES (?, ?, ?, ?, ?, ?)", db)
    insert.bind(1, key.queue)
    insert.bind(2, key.source)
    insert.bind(3, key.type)
    insert.bind(4, key.id)
    if let hash = key.hash { insert.bind(5, hash) } else { insert.bind(5, nil as Int64?) }
    insert.bind(6, key.at ?? now)
    _ = try insert.step()
  }

  static func remove(_ key: InboxKey, _ db: Database) throws {
    try db.cachedStatement(sql: "DELETE FROM warren_inbox WHERE queue = ? AND source = ? AND type = ? AND id = ?")
      .execute(
        arguments: [key.queue, key.source, key.type, key.id])
  }

  /// Removes what is remembered of replays to a queue from before `oldest`, at most `limit`.
  /// - Returns: how many.
  static func pruneReplays(queue: String, before oldest: Int64, limit: Int, _ db: Database) throws -> Int {
    let first = queue + replayMark
    let scopes = try String.fetchAll(
      db, sql: "SELECT DISTINCT queue FROM warren_inbox WHERE queue >= ? AND queue < ?",
      arguments: [first, first + "\u{10ffff}"])
    var count = 0
    for scope in scopes {
      try db.execute(
        sql: """
          DELETE FROM warren_inbox WHERE (queue, source, type, id) IN
            (SELECT queue, source, type, id FROM warren_inbox WHERE queue = ? AND at < ? ORDER BY at LIMIT ?)
          """, arguments: [scope, oldest, limit - count])
      count += db.changesCount
      if count >= limit { break }
    }
    return count
  }

  /// Removes records of events from before `oldest`, at most `limit`, and notes for the queue that it has.
  /// - Returns: how many.
  static func prune(queue: String, before oldest: Int64, limit: Int, _ db: Database) throws -> Int {
    let through = try Int64.fetchOne(
      db,
      sql: """
        SELECT max(at) FROM (SELECT at FROM warren_inbox WHERE queue = ? AND at < ? ORDER BY at LIMIT ?)
        """, arguments: [queue, oldest, limit])
    guard let through else { return 0 }
    try db.execute(
      sql: "DELETE FROM warren_inbox WHERE queue = ? AND at <= ?", arguments: [queue, through])
    let count = db.changesCount
    try db.execute(
      sql: "INSERT INTO warren_inbox_pruned VALUES (?1, ?2) ON CONFLICT DO UPDATE SET through = max(through, ?2)",
      arguments: [queue, through])
    return count
  }
}
