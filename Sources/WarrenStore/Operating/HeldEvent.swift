import GRDB
public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// An event that the relay has set aside.
public struct HeldEvent: Sendable, Hashable {
  /// Its place in the log.
  public var position: LogPosition
  /// `unroutable`, `congested`, `exchange` or `refused`; `behind` where an older event of its type and key is held.
  public var reason: String
  /// The reason of the oldest held event of its type and key.
  public var cause: String
  /// What the broker said.
  public var text: String
  /// Since when it is held.
  public var since: Date
  /// When it is tried again; nil for `refused`, which waits for an operator, and for `behind`.
  public var nextTry: Date?
  /// The event; nil when its row cannot be read.
  public var event: EncodedEvent?
}

extension EventLog {
  /// Which held events are meant.
  public enum HeldSelection: Sendable, Hashable {
    case all
    case positions([LogPosition])
    /// Those with this cause.
    case cause(String)
    /// Those of this event type.
    case type(EventType)
  }

  /// Held events, the oldest first, at most `limit`.
  /// - Throws: ``StoreError``.
  public func held(_ selection: HeldSelection = .all, limit: Int = 100) async throws -> [HeldEvent] {
    try await read(doing: "reading held events") { db in
      try Self.positions(selection, limit: limit, db).compactMap { try Self.held($0, db) }
    }
  }

  /// Lets held events be tried again at once, refused ones too. The relay may run in another process.
  /// - Returns: how many.
  /// - Throws: ``StoreError``.
  public func retry(_ selection: HeldSelection) async throws -> Int {
    try await changed { db in
      let positions = try Self.positions(selection, limit: .max, db)
      try HeldEntries.retry(positions, db)
      return positions.count
    }
  }

  /// Removes held events for good; how many of each type stays counted.
  /// - Returns: how many.
  /// - Throws: ``StoreError``.
  public func discard(_ selection: HeldSelection) async throws -> Int {
    try await changed { db in
      let positions = try Self.positions(selection, limit: .max, db)
      try HeldEntries.drop(positions, reason: "discarded", now: Int64(wallClockMilliseconds()), db)
      return positions.count
    }
  }

  private func changed(_ body: @escaping @Sendable (Database) throws -> Int) async throws -> Int {
    do {
      return try await committer.transact(body)
    } catch {
      throw StoreError(error, doing: "changing held events")
    }
  }

  private static func positions(_ selection: HeldSelection, limit: Int, _ db: Database) throws -> [Int64] {
    let (condition, arguments): (String, StatementArguments) =
      switch selection {
      case .all: ("TRUE", [])
      case .cause(let cause): ("cause = ?", [cause])
      case .type(let type): ("exchange = ?", [EntityNames.exchange(of: type)])
      case .positions(let positions):
        (
          "position IN (\(positions.map { "\($0)" }.joined(separator: ", ")))", []
        )
      }
    return try Int64.fetchAll(
      db,
      sql:
        "SELECT position FROM warren_held WHERE reason <> 'discarded' AND \(condition) ORDER BY position LIMIT \(limit)",
      arguments: arguments)
  }

  private static func held(_ position: Int64, _ db: Database) throws -> HeldEvent? {
    guard let row = try Row.fetchOne(db, sql: "SELECT * FROM warren_held WHERE position = ?", arguments: [position])
    else { return nil }
    var event: EncodedEvent?
    for table in ["warren_outbox", "warren_events"] {
      let found = try RawStatement("SELECT \(EventRow.columns) FROM \(table) WHERE position = ?", db)
      found.bind(1, position)
      if try found.step() {
        event = try? EventRow.event(found)
        found.reset()
      }
    }
    let nextTry: Int64? = row["next_try"]
    return HeldEvent(
      position: LogPosition(rawValue: position), reason: row["reason"], cause: row["cause"], text: row["text"],
      since: Date(milliseconds: row["since"]), nextTry: nextTry.map { Date(milliseconds: $0) }, event: event)
  }
}
