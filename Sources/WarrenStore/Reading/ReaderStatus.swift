import GRDB
public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// How a reader of the log stands: the relay, a version of a projection, a subscription.
public struct ReaderStatus: Sendable, Hashable {
  /// `relay`, `projection delays/2`, `subscription mailer`.
  public let name: String
  /// Everything up to here is done with.
  public let position: LogPosition
  /// What it has not seen yet; of the relay, what waits for its first try.
  public let lag: ReaderLag
  /// How many events it has taken.
  public let events: Int
  /// When it last moved.
  public let movedAt: Date
  /// The log keeps recorded events for it.
  public let isRetaining: Bool
  /// It was away for too long, and the log keeps nothing for it any more.
  public let hasLapsed: Bool
}

extension EventLog {
  /// All readers that the file knows, by name.
  /// - Throws: ``StoreError``.
  public func readers() async throws -> [ReaderStatus] {
    try await reading { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT name, position, rows, moved, lapsed FROM warren_readers LEFT JOIN warren_retaining ON reader = name ORDER BY name
          """
      ).map { row in
        let lapsed: Int? = row["lapsed"]
        return ReaderStatus(
          name: row["name"], position: LogPosition(rawValue: row["position"]), lag: try Self.lag(row["name"], db),
          events: row["rows"],
          movedAt: Date(milliseconds: row["moved"]), isRetaining: lapsed == 0, hasLapsed: lapsed == 1)
      }
    }
  }

  private static func lag(_ reader: String, _ db: Database) throws -> ReaderLag {
    if reader == "relay" {
      let status = try status(db, now: Int64(wallClockMilliseconds()))
      return ReaderLag(events: status.backlogRows, age: status.oldestAge ?? .zero)
    }
    // A projection inside the appends does not move its checkpoint.
    let isInline = try Bool.fetchOne(
      db,
      sql: """
        SELECT 1 FROM warren_projections
        WHERE kind = 'inline' AND state = 'live' AND 'projection ' || name || '/' || version = ?
        """, arguments: [reader])
    return isInline == true ? .none : try ReaderStand.read(reader, db)?.lag ?? .none
  }
}
