import GRDB
import Warren

/// Reads the events of a query page by page. Each page is a short read of its own, so that SQLite can write its log back into
/// the file in between.
struct PageReader: Sendable {
  static let rows = 1000
  static let bytes = 4 << 20
  static let time = Duration.milliseconds(50)

  private let query: EventQuery
  /// Where the next page begins: a version in a stream, a position in the log.
  private var next: Int64?
  private var left: Int
  private(set) var isAtEnd = false

  init(_ query: EventQuery) {
    self.query = query
    left = query.limit ?? .max
  }

  private var isForwards: Bool { query.direction == .forwards }

  /// At most a page; fewer events do not mean the end, ``isAtEnd`` does.
  mutating func page(_ db: Database) throws -> [RecordedEvent] {
    let limit = min(Self.rows, left)
    guard limit > 0, !isAtEnd else {
      isAtEnd = true
      return []
    }
    var events: [RecordedEvent] = []
    var isCut = false
    let end = ContinuousClock.now + Self.time
    var bytes = 0
    func take(_ row: RawStatement) throws -> Bool {
      let event = try RecordedEvent(row, after: events.last)
      events.append(event)
      bytes += event.bodySize
      isCut = bytes >= Self.bytes || (events.count % 64 == 0 && ContinuousClock.now >= end)
      return !isCut
    }
    if query.stream == nil, !query.types.isEmpty {
      let positions = try positions(limit, db)
      let select = try RawStatement("SELECT \(RecordedEvent.columns) FROM warren_events WHERE position = ?", db)
      for position in positions {
        select.bind(1, position)
        guard try select.step() else { continue }
        let goesOn = try take(select)
        select.reset()
        if !goesOn { break }
      }
      isAtEnd = positions.count < limit && !isCut
    } else {
      let select = try statement(limit, db)
      while try select.step() {
        if try !take(select) {
          select.reset()
          break
        }
      }
      isAtEnd = events.count < limit && !isCut
    }
    left -= events.count
    if let last = events.last {
      next = (query.stream == nil ? last.position.rawValue : last.version) + (isForwards ? 1 : -1)
    }
    return events
  }

  // MARK: SQL

  private var order: String { isForwards ? "" : "DESC" }
  private var comparison: String { isForwards ? ">=" : "<=" }

  private var recorded: Int64? { if case .time(let date) = query.start { date.milliseconds } else { nil } }

  private func first(_ db: Database) throws -> Int64 {
    if let next { return next }
    switch query.start {
    case .version(let version): return version
    case .position(let position) where query.stream == nil: return position.rawValue
    case .time(let date) where isForwards && query.stream == nil:
      return try Self.position(recordedSince: date.milliseconds, db)
    case .beginning, .position, .time: return isForwards ? 0 : .max
    }
  }

  /// Nothing before it was recorded at that time or later.
  static func position(recordedSince time: Int64, _ db: Database) throws -> Int64 {
    let select = try RawStatement(
      "SELECT position FROM warren_minutes WHERE minute >= ? ORDER BY minute LIMIT 1", db)
    select.bind(1, time / 60_000)
    guard try select.step() else {
      // The last minute may still grow.
      return try Int64.fetchOne(db, sql: "SELECT max(position) + 1 FROM warren_events") ?? 0
    }
    defer { select.reset() }
    return select.int(0)
  }

  private func statement(_ limit: Int, _ db: Database) throws -> RawStatement {
    var conditions: [String] = []
    if query.stream != nil { conditions.append("stream = ?3") }
    conditions.append((query.stream == nil ? "position" : "version") + " \(comparison) ?1")
    if !query.types.isEmpty {
      conditions.append("type IN (\(query.types.indices.map { "?\($0 + 6)" }.joined(separator: ", ")))")
    }
    if recorded != nil { conditions.append("recorded \(comparison) ?4") }
    if case .position = query.start, query.stream != nil { conditions.append("position \(comparison) ?5") }
    let select = try RawStatement(
      """
      SELECT \(RecordedEvent.columns) FROM warren_events WHERE \(conditions.joined(separator: " AND "))
      ORDER BY \(query.stream == nil ? "position" : "version") \(order) LIMIT ?2
      """, db)
    select.bind(1, try first(db))
    select.bind(2, Int64(limit))
    if let stream = query.stream { select.bind(3, stream.name) }
    if let recorded { select.bind(4, recorded) }
    if case .position(let position) = query.start, query.stream != nil { select.bind(5, position.rawValue) }
    for (index, type) in query.types.enumerated() { select.bind(Int32(index + 6), type.name) }
    return select
  }

  /// Of the types' index alone, merged: a rare type is found at once, and what is found is in order.
  private func positions(_ limit: Int, _ db: Database) throws -> [Int64] {
    let select = try RawStatement(
      query.types.indices.map { index in
        """
        SELECT position FROM warren_events INDEXED BY warren_events_type
        WHERE type = ?\(index + 4) AND position \(comparison) ?1 \(recorded == nil ? "" : "AND recorded \(comparison) ?3")
        """
      }.joined(separator: "\nUNION ALL ") + "\nORDER BY position \(order) LIMIT ?2", db)
    select.bind(1, try first(db))
    select.bind(2, Int64(limit))
    if let recorded { select.bind(3, recorded) }
    for (index, type) in query.types.enumerated() { select.bind(Int32(index + 4), type.name) }
    var positions: [Int64] = []
    while try select.step() { positions.append(select.int(0)) }
    return positions
  }
}
