import GRDB
import Logging
import Warren
import WarrenSupport

/// Brings one version of a projection forward, a step at a time: builds it beside the one in use, puts it in its place, and
/// keeps up from there.
struct ProjectionSession: Sendable {
  enum Outcome: Sendable, Equatable {
    /// There may be more to do.
    case more
    /// Everything that there is, is seen.
    case idle
    /// It stands before an event that it cannot take.
    case stopped
    /// A newer version is in use.
    case superseded(by: Int)
  }
  /// So many events are applied inside the transaction that swaps, while nobody else can write.
  private static let mostInSwap = 500

  let runner: ProjectionRunner
  let kind: ProjectionRow.Kind
  var metrics: ReaderMetrics?
  private var log: EventLog { runner.log }
  private var projection: any Projection { runner.projection }
  private var reader: String { runner.reader }

  /// What a look at the file shows, in one read.
  private struct Look: Sendable {
    var row: ProjectionRow
    var position: Int64
    /// Where this step must end: a version that is built goes no further than the one in use.
    var bound: Int64
    /// Up to here nothing is recorded.
    var mark: Int64
    var events: [RecordedEvent]
    /// Where the reader is behind these events.
    var through: Int64
    var retry: RecordedEvent?
  }

  // MARK: Beginning

  /// Enters this version into the file where it is missing.
  func begin() async throws -> Outcome {
    try ReaderCheckpoint.check(projection.name, what: "projection")
    guard projection.version > 0, !projection.eventTypes.isEmpty else {
      throw StoreError(
        .invalidConfiguration,
        "the projection \(projection.name) has version \(projection.version) and \(projection.eventTypes.count) event types: it needs a version of 1 or more, and a type"
      )
    }
    try OptionRules.check("the number of event types", projection.eventTypes.count, 1...EventQuery.mostTypes)
    return try await log.transact { db in
      if try ProjectionRow.find(projection.name, projection.version, db) != nil {
        try ReaderInterest.note(reader, projection.eventTypes, db)
        return .more
      }
      if let live = try ProjectionRow.live(projection.name, db), live.version > projection.version {
        return .superseded(by: live.version)
      }
      let row = ProjectionRow(
        name: projection.name, version: projection.version, kind: kind, state: .building, target: try Self.head(db),
        tables: try runner.create(db), problem: nil)
      try row.write(db)
      try ReaderCheckpoint.insert(reader, at: 0, db)
      try ReaderInterest.note(reader, projection.eventTypes, db)
      return .more
    }
  }

  // MARK: One step

  func step() async throws -> Outcome {
    guard let look = try await log.reading({ try self.look($0) }) else {
      let live = try await log.reading { try ProjectionRow.live(projection.name, $0) }
      if let live, live.version > projection.version { return .superseded(by: live.version) }
      return try await begin()
    }
    // Appends keep it up to date.
    if look.row.state == .live, look.row.kind == .inline, look.retry == nil { return .idle }
    if let event = look.retry {
      try await retry(event, look)
      return .more
    }
    guard !look.events.isEmpty else { return try await withoutEvents(look) }
    do {
      try await apply(look.events, look, through: look.through)
      if look.row.problem != nil { try await note(problem: nil) }
      return .more
    } catch let poisoned as ProjectionRunner.Poisoned {
      if poisoned.index > 0 {
        // The ones before it were taken back with it.
        let before = Array(look.events[..<poisoned.index])
        try await apply(before, look, through: before[before.count - 1].position.rawValue)
        return .more
      }
      return try await handle(poisoned, look)
    }
  }

  private func look(_ db: Database) throws -> Look? {
    guard let row = try ProjectionRow.find(projection.name, projection.version, db),
      let position = try ReaderCheckpoint.position(reader, db)
    else { return nil }
    let head = try Self.head(db)
    let (bound, mark) = try limits(row, head, db)
    var pages = PageReader(
      EventQuery(types: projection.eventTypes, from: .position(LogPosition(rawValue: position + 1))))
    let page = try pages.page(db)
    let events = page.prefix { $0.position.rawValue <= bound }
    // Nothing of its types is between the last of a short page and the head.
    let isAll = pages.isAtEnd && events.count == page.count || events.count < page.count
    let through = isAll ? max(position, min(bound, head)) : events.last?.position.rawValue ?? position
    return Look(
      row: row, position: position, bound: bound, mark: mark, events: Array(events), through: through,
      retry: try PoisonedEvents.nextRetry(reader, db))
  }

  private func limits(_ row: ProjectionRow, _ head: Int64, _ db: Database) throws -> (bound: Int64, mark: Int64) {
    if row.state == .live { return (head, 0) }
    guard let live = try ProjectionRow.live(row.name, db) else {
      return (kind == .inline ? head : row.target, row.target)
    }
    let mark = live.kind == .inline ? head : try ReaderCheckpoint.position(live.reader, db) ?? 0
    return (kind == .inline ? head : mark, mark)
  }

  static func head(_ db: Database) throws -> Int64 {
    try Int64.fetchOne(db, sql: "SELECT position FROM warren_head") ?? 0
  }

  // MARK: Events

  private func apply(_ events: [RecordedEvent], _ look: Look, through: Int64) async throws {
    try await ReaderMetrics.batch(metrics) {
      try await log.transact { db in
        let count = try runner.apply(events, look.row, silentThrough: look.mark, db)
        let to = count == events.count ? through : events[count - 1].position.rawValue
        try ReaderCheckpoint.move(reader, from: look.position, to: to, events: count, db)
        return count
      }
    }
  }

  private func handle(_ poisoned: ProjectionRunner.Poisoned, _ look: Look) async throws -> Outcome {
    let event = poisoned.event
    log.logger.info(
      "a projection cannot take an event",
      metadata: [
        "projection": "\(reader)", "position": "\(event.position)", "handling": "\(runner.handling.rawValue)",
        "error": "\(poisoned.text)",
      ])
    guard runner.handling != .stop else {
      try await note(problem: "position \(event.position), \(event.type): \(poisoned.text)")
      return .stopped
    }
    try await log.transact { db in
      let state: PoisonedEvents.State = runner.handling == .skip ? .skipped : .held
      try PoisonedEvents.insert(reader, event, state, poisoned.text, db)
      try ReaderCheckpoint.move(reader, from: look.position, to: event.position.rawValue, events: 1, db)
    }
    return .more
  }

  private func retry(_ event: RecordedEvent, _ look: Look) async throws {
    do {
      try await ReaderMetrics.batch(metrics) {
        try await log.transact { db in
          do {
            try runner.one(event, look.row, silentThrough: look.mark, db)
          } catch let error as DatabaseError where error.concernsEverybody {
            throw error
          } catch {
            throw ProjectionRunner.Poisoned(index: 0, event: event, text: "\(error)")
          }
          try PoisonedEvents.taken(reader, event, db)
          return 1
        }
      }
    } catch let poisoned as ProjectionRunner.Poisoned {
      try await log.transact { try PoisonedEvents.failedAgain(reader, event, runner.handling, poisoned.text, $0) }
    }
  }

  /// Says in the file why it does not get on.
  func note(problem: String?) async throws {
    try await log.transact { db in
      guard var row = try ProjectionRow.find(projection.name, projection.version, db) else { return }
      guard row.problem != problem else { return }
      row.problem = problem?.shown(512)
      try row.write(db)
    }
  }

  // MARK: Without events

  private func withoutEvents(_ look: Look) async throws -> Outcome {
    if look.row.state == .building {
      _ = try await swap()
      return .more
    }
    if look.row.problem != nil { try await note(problem: nil) }
    // Only so that the next look does not begin as far back: nothing depends on it, so it is done rarely.
    if look.through - look.position >= 10_000 {
      try await log.transact { try ReaderCheckpoint.move(reader, from: look.position, to: look.through, events: 0, $0) }
    }
    return .idle
  }

  /// Puts this version in the place of the one in use: the last events, the names of the tables, the old tables: one commit.
  /// False when there is still too much to do for that.
  private func swap() async throws -> Bool {
    var isDone = false
    do {
      try await ReaderMetrics.batch(metrics) {
        let count = try await swapped()
        isDone = count != nil
        return count ?? 0
      }
    } catch is ProjectionRunner.Poisoned {
      // The ordinary step meets it again and deals with it.
    }
    if isDone { Faults.reached(.afterSwap) }
    return isDone
  }

  /// Returns how many events were the last; nil when there is still too much to do.
  private func swapped() async throws -> Int? {
    try await log.transact { db in
      guard var row = try ProjectionRow.find(projection.name, projection.version, db), row.state == .building,
        let position = try ReaderCheckpoint.position(reader, db)
      else { return nil }
      let live = try ProjectionRow.live(row.name, db)
      let (bound, mark) = try limits(row, try Self.head(db), db)
      var pages = PageReader(
        EventQuery(
          types: projection.eventTypes, from: .position(LogPosition(rawValue: position + 1)),
          limit: Self.mostInSwap + 1))
      let page = try pages.page(db)
      let rest = page.filter { $0.position.rawValue <= bound }
      // A page may end early, for its bytes or its time: what it does not show must not be passed.
      guard rest.count <= Self.mostInSwap, pages.isAtEnd || rest.count < page.count else { return nil }
      _ = try runner.apply(rest, row, silentThrough: mark, isBounded: false, db)
      try ReaderCheckpoint.move(reader, from: position, to: max(position, bound), events: rest.count, db)
      Faults.reached(.inSwap)
      // With versions that were never finished: nobody will.
      for old in try ProjectionRow.all(row.name, db) where old.version < row.version { try old.drop(db) }
      Faults.reached(.inSwap)
      try row.takeNames(db)
      Faults.reached(.inSwap)
      row.state = .live
      row.kind = kind
      row.problem = nil
      try row.write(db)
      if kind == .inline {
        try InlineReaders.enter(row.inlineName, db)
        // On the writer's thread, so that the next append already runs it.
        log.inline.add(runner.inline(row), db)
      } else if live?.kind == .inline {
        try InlineReaders.leave(row.name, db)
        log.inline.remove(row.name, db)
      }
      return rest.count
    }
  }

  /// This version is in use already, inside appends or behind them: makes it what it is asked to be. False when it has not
  /// caught up, and so cannot go inside.
  func changeKind() async throws -> Bool {
    try await log.transact { db in
      guard var row = try ProjectionRow.find(projection.name, projection.version, db), row.state == .live else {
        return true
      }
      switch (row.kind, kind) {
      case (.inline, .inline): log.inline.add(runner.inline(row), db)
      case (.async, .async): break
      case (.async, .inline):
        let position = try ReaderCheckpoint.position(reader, db) ?? 0
        var pages = PageReader(
          EventQuery(types: projection.eventTypes, from: .position(LogPosition(rawValue: position + 1))))
        guard try pages.page(db).isEmpty else { return false }
        row.kind = .inline
        try row.write(db)
        try InlineReaders.enter(row.inlineName, db)
        log.inline.add(runner.inline(row), db)
      case (.inline, .async):
        let position = try ReaderCheckpoint.position(reader, db) ?? 0
        try ReaderCheckpoint.move(reader, from: position, to: try Self.head(db), events: 0, db)
        row.kind = .async
        try row.write(db)
        try InlineReaders.leave(row.name, db)
        log.inline.remove(row.name, db)
      }
      return true
    }
  }
}
