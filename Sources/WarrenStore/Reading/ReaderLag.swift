import GRDB
import Warren

/// How far a reader is behind the log.
public struct ReaderLag: Sendable, Hashable {
  /// How many events that it wants it has not seen. Counted up to 10,000; when there are more, it is the number of all
  /// positions that it has not seen, which may be more than it wants and is never less.
  public var events: Int
  /// How long the oldest of them has been in the log; zero when there is none.
  public var age: Duration

  /// Nothing is left to see.
  public static let none = ReaderLag(events: 0, age: .zero)
}

extension ReaderLag {
  static let mostCounted = 10_000

  /// One short look into the index of types, however long the log is.
  /// - Parameter wantsRecorded: also what was recorded to be published.
  init(
    behind position: Int64, head: Int64, types: [EventType], wantsRecorded: Bool, now: Int64, _ db: Database
  ) throws {
    guard position < head else {
      self = .none
      return
    }
    var sources: [String] = []
    if types.isEmpty {
      sources.append("SELECT position FROM warren_events WHERE position > ?1")
    } else {
      sources += types.indices.map {
        "SELECT position FROM warren_events INDEXED BY warren_events_type WHERE type = ?\($0 + 3) AND position > ?1"
      }
    }
    if wantsRecorded {
      let filter = types.isEmpty ? "" : "WHERE type IN (\(types.indices.map { "?\($0 + 3)" }.joined(separator: ", ")))"
      // Without an index of types, so what is looked at is bounded, and not what is found.
      sources.append(
        "SELECT position FROM (SELECT position, type FROM warren_outbox WHERE position > ?1 ORDER BY position LIMIT ?2) \(filter)"
      )
    }
    func int(_ sql: String) throws -> Int64? {
      let select = try RawStatement(sql, db)
      select.bind(1, position)
      select.bind(2, Int64(Self.mostCounted) + 1)
      for (index, type) in types.enumerated() { select.bind(Int32(index + 3), type.name) }
      guard try select.step() else { return nil }
      defer { select.reset() }
      return select.optionalInt(0)
    }
    let union = sources.joined(separator: " UNION ALL ")
    let count = Int(try int("SELECT count(*) FROM (SELECT 1 FROM (\(union)) LIMIT ?2)") ?? 0)
    guard count > 0 else {
      self = .none
      return
    }
    // One look for each, as SQLite finds the smallest at the beginning of an index only where it is asked for one.
    let first = sources.map { "SELECT min(position) AS first FROM (\($0))" }.joined(separator: " UNION ALL ")
    let oldest = try int(
      """
      SELECT coalesce((SELECT recorded FROM warren_events WHERE position = first),
        (SELECT recorded FROM warren_outbox WHERE position = first))
      FROM (SELECT min(first) AS first FROM (\(first)))
      """)
    events = count > Self.mostCounted ? Int(head - position) : count
    age = .milliseconds(max(0, now - (oldest ?? now)))
  }
}

/// The types that a reader wants, in the file: so that another process can say how far it is behind.
enum ReaderInterest {
  static func note(_ reader: String, _ types: [EventType], _ db: Database) throws {
    let text = types.map(\.name).joined(separator: ",")
    let known = try String.fetchOne(
      db, sql: "SELECT value FROM warren_meta WHERE name = ?", arguments: [name(reader)])
    guard known != text else { return }
    try db.execute(sql: "INSERT OR REPLACE INTO warren_meta VALUES (?, ?)", arguments: [name(reader), text])
  }

  /// Empty: all, or nobody has said.
  static func types(_ reader: String, _ db: Database) throws -> [EventType] {
    let text = try String.fetchOne(
      db, sql: "SELECT value FROM warren_meta WHERE name = ?", arguments: [name(reader)])
    return try (text ?? "").split(separator: ",").map { try EventType(String($0)) }
  }

  static func remove(_ reader: String, _ db: Database) throws {
    try db.execute(sql: "DELETE FROM warren_meta WHERE name = ?", arguments: [name(reader)])
  }

  private static func name(_ reader: String) -> String { "types \(reader)" }
}

/// Where a reader stands, in one look.
struct ReaderStand: Sendable {
  var position: Int64
  var head: Int64
  var lag: ReaderLag

  /// Nil when the file knows no such reader.
  static func read(_ reader: String, _ db: Database) throws -> ReaderStand? {
    guard let position = try ReaderCheckpoint.position(reader, db) else { return nil }
    let head = try ProjectionSession.head(db)
    return ReaderStand(
      position: position, head: head,
      lag: try ReaderLag(
        behind: position, head: head, types: try ReaderInterest.types(reader, db),
        wantsRecorded: try RetainingReaders.has(reader, db), now: Int64(wallClockMilliseconds()), db))
  }
}
