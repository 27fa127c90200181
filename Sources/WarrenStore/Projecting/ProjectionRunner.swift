import GRDB
import Warren

/// Applies events to one version of a projection, in the transaction that is open.
struct ProjectionRunner: Sendable {
  /// The event that a projection threw at.
  struct Poisoned: Error {
    var index: Int
    var event: RecordedEvent
    var text: String
  }
  static let longest = Duration.milliseconds(50)

  let projection: any Projection
  let log: EventLog
  let handling: PoisonHandling

  var reader: String { ProjectionRow.reader(projection.name, projection.version) }

  private func context(
    _ row: ProjectionRow, silentThrough mark: Int64, _ event: RecordedEvent?, _ db: Database
  )
    -> ProjectionContext
  {
    ProjectionContext(
      db: db, isRebuilding: row.state == .building,
      names: ProjectionNames(version: row.version, reals: row.tables, isLive: true), log: log,
      isSilent: event.map { $0.position.rawValue <= mark } ?? true)
  }

  /// Makes the tables and returns their names.
  func create(_ db: Database) throws -> [String: String] {
    let names = ProjectionNames(version: projection.version, isLive: false)
    let context = ProjectionContext(db: db, isRebuilding: true, names: names, log: log, isSilent: true)
    try ProjectionRun.$isInside.withValue(true) { try projection.create(context) }
    return names.all
  }

  /// Applies events in order, for at most ``longest``.
  /// - Parameter mark: what is recorded for events up to here is not.
  /// - Returns: how many it took.
  /// - Throws: ``Poisoned`` when one of them cannot be taken: then nothing of the transaction may be kept. What concerns the
  ///   file and not the event is thrown as it is.
  func apply(
    _ events: [RecordedEvent], _ row: ProjectionRow, silentThrough mark: Int64, isBounded: Bool = true, _ db: Database
  ) throws -> Int {
    let end = ContinuousClock.now + Self.longest
    let held = try PoisonedEvents.heldStreams(reader, db)
    for (index, event) in events.enumerated() {
      if held.contains(event.stream) {
        try PoisonedEvents.insert(reader, event, .behind, "an earlier event of its stream is held", db)
      } else {
        do {
          try one(event, row, silentThrough: mark, db)
        } catch let error as DatabaseError where error.concernsEverybody || error.resultCode == .SQLITE_INTERRUPT {
          throw error
        } catch {
          throw Poisoned(index: index, event: event, text: "\(error)")
        }
      }
      if isBounded, index % 16 == 15, ContinuousClock.now >= end { return index + 1 }
    }
    return events.count
  }

  func one(_ event: RecordedEvent, _ row: ProjectionRow, silentThrough mark: Int64, _ db: Database) throws {
    let context = context(row, silentThrough: mark, event, db)
    try ProjectionRun.$isInside.withValue(true) { try projection.apply(event, context) }
  }

  // MARK: Inside appends

  /// For ``InlineReaders``. The table's row is read once: it changes only together with the file's list of inline readers.
  func inline(_ row: ProjectionRow) -> InlineReaders.Reader {
    let types = Set(projection.eventTypes)
    return InlineReaders.Reader(name: row.inlineName) { events, db in
      for event in events where types.contains(event.type) { try appended(event, row, db) }
    }
  }

  private func appended(_ event: RecordedEvent, _ row: ProjectionRow, _ db: Database) throws {
    guard handling != .stop else {
      do {
        return try one(event, row, silentThrough: 0, db)
      } catch let error as DatabaseError where error.concernsEverybody {
        throw error
      } catch {
        throw ProjectionError(projection: row.name, event: event, underlying: error)
      }
    }
    if handling == .hold, try PoisonedEvents.heldStreams(reader, db).contains(event.stream) {
      return try PoisonedEvents.insert(reader, event, .behind, "an earlier event of its stream is held", db)
    }
    do {
      try db.inSavepoint {
        try one(event, row, silentThrough: 0, db)
        return .commit
      }
    } catch let error as DatabaseError where error.concernsEverybody {
      throw error
    } catch {
      try PoisonedEvents.insert(reader, event, handling == .skip ? .skipped : .held, "\(error)", db)
    }
  }
}

/// A projection inside an append could not take an event, so nothing was appended.
public struct ProjectionError: Error, Sendable, CustomStringConvertible {
  /// The projection.
  public let projection: String
  /// The event that would have been appended.
  public let event: RecordedEvent
  /// What the projection threw.
  public let underlying: any Error

  /// The text for messages and logs.
  public var description: String {
    "the projection \(projection) cannot take \(event.type), version \(event.version) of stream \(event.stream): \(underlying)"
  }
}
