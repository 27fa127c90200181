import GRDB
import Warren

/// Appends to streams in the transaction that is open.
///
/// All that may be refused is looked at before anything is written, so a refused append leaves nothing to take back.
enum StreamWriter {
  typealias Outcome = Result<Appended, any Error>
  /// How long a request is remembered.
  static let requestMemory: Int64 = 30 * 86_400_000

  private static let selectVersion =
    "SELECT version FROM warren_events WHERE stream = ? ORDER BY version DESC LIMIT 1"
  private static let selectRequest = "SELECT versions, first, last FROM warren_requests WHERE id = ?"

  static func version(of stream: StreamName, _ db: Database) throws -> Int64 {
    let select = try RawStatement(selectVersion, db)
    select.bind(1, stream.name)
    guard try select.step() else { return 0 }
    defer { select.reset() }
    return select.int(0)
  }

  /// Several appends, each as if the ones before it were committed already.
  /// With `inline` readers, whose failure takes the append with it, one at a time.
  static func append(
    _ appends: [PreparedAppend], bounds: Bounds, inline: InlineReaders, _ db: Database
  ) throws -> [Outcome] {
    let readers: [InlineReaders.Reader]
    do {
      readers = try inline.readers(db)
    } catch let error as StoreError {
      // Others in the group, which do not append, have nothing to do with it.
      return appends.map { _ in .failure(error) }
    }
    var plan = Plan(db, keepsEvents: !readers.isEmpty)
    for append in appends { try plan.admit(append) }
    try plan.write(bounds)
    try InlineReaders.run(readers, plan.written, db)
    for (append, outcome) in zip(appends, plan.outcomes) { append.outcome = try? outcome.get() }
    return plan.outcomes
  }

  /// What is to be written when all appends are looked at.
  private struct Plan {
    let db: Database
    private(set) var outcomes: [Outcome] = []
    private var versions: [StreamName: Int64] = [:]
    private var requests: [String: Appended] = [:]
    /// Repeats of what is in the same plan: the first one has no positions yet.
    private var repeats: [(request: String, index: Int)] = []
    private var admitted: [(append: PreparedAppend, index: Int)] = []
    private var count = 0
    private var toPublish = (rows: 0, bytes: Int64(0))

    /// What was written, where somebody wants to see it.
    private(set) var written: [RecordedEvent] = []
    private let keepsEvents: Bool

    init(_ db: Database, keepsEvents: Bool) {
      self.db = db
      self.keepsEvents = keepsEvents
    }

    mutating func admit(_ append: PreparedAppend) throws {
      if let request = append.request, let first = try requests[request] ?? StreamWriter.known(request, db) {
        if requests[request] != nil { repeats.append((request, outcomes.count)) }
        outcomes.append(StreamWriter.sameStreams(append, first, request))
        return
      }
      for part in append.parts {
        let actual = try versions[part.stream] ?? StreamWriter.version(of: part.stream, db)
        versions[part.stream] = actual
        guard part.expecting.allows(actual) else {
          outcomes.append(
            .failure(ConflictError(stream: part.stream, expected: part.expecting, actual: actual)))
          return
        }
      }
      var appended = Appended(versions: [])
      for part in append.parts {
        let version = (versions[part.stream] ?? 0) + Int64(part.rows.count)
        versions[part.stream] = version
        appended.versions.append(.init(stream: part.stream, version: version))
        count += part.rows.count
        for (row, isPublic) in zip(part.rows, part.isPublic) where isPublic {
          toPublish.rows += 1
          toPublish.bytes += row.size
        }
      }
      if let request = append.request {
        var again = appended
        again.isRepeat = true
        requests[request] = again
      }
      admitted.append((append, outcomes.count))
      outcomes.append(.success(appended))
    }

    mutating func write(_ bounds: Bounds) throws {
      let now = Int64(wallClockMilliseconds())
      var position: Int64 = 0
      if count > 0 {
        position = try Head.allocate(count, toPublish: toPublish, bounds: bounds, db)
        try StreamWriter.mark(now, position, db)
      }
      let insert = try RawStatement(EventRow.insertEvent, db)
      for (append, index) in admitted {
        guard case .success(var appended) = outcomes[index] else { continue }
        let first = position
        for (part, end) in zip(append.parts, appended.versions) {
          var version = end.version - Int64(part.rows.count)
          for (row, isPublic) in zip(part.rows, part.isPublic) {
            version += 1
            row.bind(to: insert, position: position, recordedAt: now, isPublic: isPublic)
            insert.bind(EventRow.columnCount + 1, part.stream.name)
            insert.bind(EventRow.columnCount + 2, version)
            _ = try insert.step()
            if keepsEvents {
              written.append(
                RecordedEvent(row.event, position, part.stream, version, recordedAt: now, isPublic: isPublic))
            }
            position += 1
          }
        }
        if position > first {
          appended.first = LogPosition(rawValue: first)
          appended.last = LogPosition(rawValue: position - 1)
        }
        if let request = append.request {
          try StreamWriter.remember(request, appended, now: now, db)
          requests[request]?.first = appended.first
          requests[request]?.last = appended.last
        }
        if let snapshot = append.snapshot { try Snapshots.write(snapshot, db) }
        outcomes[index] = .success(appended)
      }
      for (request, index) in repeats {
        if case .success = outcomes[index], let first = requests[request] { outcomes[index] = .success(first) }
      }
    }
  }

  /// What a request came to that was appended before.
  static func known(_ request: String, _ db: Database) throws -> Appended? {
    let select = try RawStatement(selectRequest, db)
    select.bind(1, request)
    guard try select.step() else { return nil }
    defer { select.reset() }
    return try Appended(stored: select.text(0) ?? "", first: select.optionalInt(1), last: select.optionalInt(2))
  }

  private static func sameStreams(_ append: PreparedAppend, _ first: Appended, _ request: String) -> Outcome {
    append.parts.map(\.stream) == first.versions.map(\.stream) ? .success(first) : .failure(reused(request, first))
  }

  static func reused(_ request: String, _ first: Appended) -> StoreError {
    let streams = first.versions.map(\.stream.name).joined(separator: ", ")
    return StoreError(
      .requestReused,
      "the request \"\(request.shown(64))\" was used before for \(streams.shown(200)): give each request an id of its own"
    )
  }

  private static func remember(_ request: String, _ appended: Appended, now: Int64, _ db: Database) throws {
    let insert = try RawStatement("INSERT INTO warren_requests VALUES (?, ?, ?, ?, ?)", db)
    insert.bind(1, request)
    insert.bind(2, appended.first?.rawValue)
    insert.bind(3, appended.last?.rawValue)
    insert.bind(4, appended.stored)
    insert.bind(5, now)
    _ = try insert.step()
    // Two go for each that comes, so that the table shrinks and no append has much to remove.
    let forget = try RawStatement(
      "DELETE FROM warren_requests WHERE id IN (SELECT id FROM warren_requests WHERE at < ? ORDER BY at LIMIT 2)", db)
    forget.bind(1, now - requestMemory)
    _ = try forget.step()
  }

  private static func mark(_ now: Int64, _ position: Int64, _ db: Database) throws {
    let last = try RawStatement("SELECT minute FROM warren_minutes ORDER BY minute DESC LIMIT 1", db)
    if try last.step() {
      defer { last.reset() }
      if last.int(0) >= now / 60_000 { return }
    }
    let insert = try RawStatement("INSERT INTO warren_minutes VALUES (?, ?)", db)
    insert.bind(1, now / 60_000)
    insert.bind(2, position)
    _ = try insert.step()
  }
}
