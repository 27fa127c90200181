public import GRDB
import Logging
public import ServiceLifecycle
public import Warren
import WarrenSupport

/// Reads a log in order behind a named checkpoint, in batches: mail to send, an index to feed, another file to fill.
///
/// ```swift
/// let mailer = log.subscription("mailer", to: AccountEvent.readTypes) { events in
///   for event in events { try await mail.send(event) }
/// }
/// ```
/// The checkpoint moves when the handler has returned: each event is handled at least once; with the handler that takes the
/// database, in one transaction with what it writes, once in effect. A batch whose handler throws comes again after 1 to 60 s,
/// for ever. Any number of processes may run the subscription: one of them works, the others wait.
public final class Subscription: Service, CustomStringConvertible {
  /// Where a subscription begins that has no checkpoint yet.
  public enum Start: Sendable, Hashable {
    /// With the first event of the log.
    case beginning
    /// With the next event that is appended.
    case end
    /// With the first event behind this position.
    case after(LogPosition)
  }

  /// What differs from the defaults.
  public struct Options: Sendable {
    /// Where it begins the first time.
    public var start = Start.beginning
    /// The most events at once, 1 to 1000. 100.
    public var batch = 100
    /// Nil: events of streams, which are kept for ever. Otherwise also those that were recorded or published through the log,
    /// with an empty stream and version 0: the log keeps them for this subscription while it is away, for so long at the most
    /// (1 s to 366 days); after that it has lapsed, and says so when it comes back.
    public var keepsRecorded: Duration?

    /// The defaults.
    public init() {}
  }

  enum Handler: Sendable {
    case async(@Sendable ([RecordedEvent]) async throws -> Void)
    case transaction(@Sendable ([RecordedEvent], Database) throws -> Void)
  }

  private let log: EventLog
  /// Its name, which is the checkpoint's.
  public let name: String
  private let types: [EventType]
  private let options: Options
  private let handler: Handler
  private let metrics: ReaderMetrics?
  private struct State {
    var isActive = false
    var problem: String?
  }
  private let state = Lock(State())

  init(_ log: EventLog, _ name: String, _ types: [EventType], _ options: Options, _ handler: Handler) {
    self.log = log
    self.name = name
    self.types = types
    self.options = options
    self.handler = handler
    metrics = ReaderMetrics(log.metrics, .subscription, name: name)
  }

  /// The text for messages and logs.
  public var description: String { "Subscription(\(name), \(log.path))" }
  /// True while this one, and no other of the name, works.
  public var isActive: Bool { state.withLock { $0.isActive } }
  /// Why the last batch was not handled; nil when it was.
  public var problem: String? { state.withLock { $0.problem } }

  static func reader(_ name: String) -> String { "subscription \(name)" }
  private var reader: String { Self.reader(name) }

  /// Works until the task group shuts down gracefully or the task is cancelled: then the handler is cancelled, and what it
  /// had not finished comes again.
  /// - Throws: ``StoreError`` when an option is not allowed, and with code ``StoreError/Code/lapsed`` when it was away too
  ///   long. Everything else is tried again.
  public func run() async throws {
    try ReaderCheckpoint.check(name, what: "subscription")
    try OptionRules.check("batch", options.batch, 1...1000)
    try OptionRules.check("the number of event types", types.count, 0...EventQuery.mostTypes)
    if let keeps = options.keepsRecorded {
      try OptionRules.check("keepsRecorded", keeps, .seconds(1) ... .seconds(366 * 86_400))
    }
    let working = Task { try await work() }
    try await withTaskCancellationOrGracefulShutdownHandler {
      try await working.value
    } onCancelOrGracefulShutdown: {
      working.cancel()
    }
  }

  private func work() async throws {
    guard let lock = await ReaderTurn.take(log, suffix: "-subscription-\(name)") else { return }
    defer {
      lock.release()
      state.withLock { $0.isActive = false }
    }
    let watching = ReaderMetrics.watch(metrics, log, reader) { self.problem != nil }
    defer { watching?.cancel() }
    var patience = Patience()
    var isBegun = false
    var touched = ContinuousClock.now
    while !Task.isCancelled {
      let generation = log.commits.generation
      do {
        if !isBegun { try await begin() }
        isBegun = true
        state.withLock { $0.isActive = true }
        if try await step() {
          touched = .now
          state.withLock { $0.problem = nil }
          patience = Patience()
          continue
        }
        let rest = min(.seconds(30), options.keepsRecorded.map { $0 / 4 } ?? .seconds(30))
        if options.keepsRecorded != nil, ContinuousClock.now - touched >= rest {
          try await sayThatItLives()
          touched = .now
        }
        await log.commits.next(after: generation, atMost: rest)
      } catch is CancellationError {
        return
      } catch let error as StoreError where error.code == .lapsed || error.code == .corrupted {
        throw error
      } catch {
        if Task.isCancelled { return }
        state.withLock { $0.problem = "\(error)" }
        log.logger.info(
          "a subscription tries a batch again", metadata: ["subscription": "\(name)", "error": "\(error)"])
        await patience.wait()
      }
    }
  }

  private func begin() async throws {
    let (reader, options) = (reader, options)
    try await log.transact { db in
      if try RetainingReaders.hasLapsed(reader, db) {
        throw StoreError(
          .lapsed,
          "the subscription \(self.name) was away for longer than keepsRecorded, and events that it had not read may be gone: begin anew with log.restart(subscription:at:)"
        )
      }
      if try ReaderCheckpoint.position(reader, db) == nil {
        let start: Int64 =
          switch options.start {
          case .beginning: 0
          case .end: try ProjectionSession.head(db)
          case .after(let position): position.rawValue
          }
        try ReaderCheckpoint.insert(reader, at: start, db)
      }
      try ReaderInterest.note(reader, self.types, db)
      if let patience = options.keepsRecorded {
        try RetainingReaders.insert(reader, patience: patience, db)
        try RetainingReaders.touch(reader, db)
      } else {
        try db.execute(sql: "DELETE FROM warren_retaining WHERE reader = ?", arguments: [reader])
      }
    }
  }

  // MARK: One batch

  private struct Batch: Sendable {
    var from: Int64
    var through: Int64
    var events: [RecordedEvent]
  }

  /// False when there is nothing to read.
  private func step() async throws -> Bool {
    let batch = try await log.reading { try self.batch($0) }
    if batch.events.isEmpty {
      // Nothing depends on it but where the next look begins, and what the outbox keeps.
      if batch.through - batch.from >= (options.keepsRecorded == nil ? 10_000 : 1000) { try await move(batch) }
      return false
    }
    var isTaken = true
    try await ReaderMetrics.batch(metrics) {
      isTaken = try await take(batch)
      return isTaken ? batch.events.count : 0
    }
    return isTaken
  }

  /// False when the task was cancelled meanwhile.
  private func take(_ batch: Batch) async throws -> Bool {
    switch handler {
    case .async(let handle):
      try await handle(batch.events)
      if Task.isCancelled { return false }
      try await move(batch)
    case .transaction(let handle):
      try await log.transact { [reader] db in
        try ReaderCheckpoint.move(reader, from: batch.from, to: batch.through, events: batch.events.count, db)
        try handle(batch.events, db)
      }
    }
    return true
  }

  /// With nothing to read for a while: what it has passed is kept for it no longer.
  private func sayThatItLives() async throws {
    let batch = try await log.reading { try self.batch($0) }
    if batch.events.isEmpty, batch.through > batch.from { return try await move(batch) }
    try await log.transact { [reader] in try RetainingReaders.touch(reader, $0) }
  }

  private func move(_ batch: Batch) async throws {
    try await log.transact { [reader] db in
      try ReaderCheckpoint.move(reader, from: batch.from, to: batch.through, events: batch.events.count, db)
    }
  }

  private func batch(_ db: Database) throws -> Batch {
    guard let from = try ReaderCheckpoint.position(reader, db) else {
      throw StoreError(.checkpointMoved, "the subscription \(name) has no checkpoint any more", isRetryable: true)
    }
    let start = LogPosition(rawValue: from + 1)
    var through = max(from, try ProjectionSession.head(db))
    var pages = PageReader(EventQuery(types: types, from: .position(start), limit: options.batch))
    var events = try pages.page(db)
    if events.count == options.batch || !pages.isAtEnd, let last = events.last {
      through = min(through, last.position.rawValue)
    }
    if options.keepsRecorded != nil {
      let recorded = try RecordedEntries.page(types, from: start, limit: options.batch, db)
      if recorded.count == options.batch, let last = recorded.last { through = min(through, last.position.rawValue) }
      events = (events + recorded).filter { $0.position.rawValue <= through }.sorted { $0.position < $1.position }
      if events.count > options.batch {
        events.removeLast(events.count - options.batch)
        through = events.last?.position.rawValue ?? through
      }
    }
    return Batch(from: from, through: through, events: events)
  }
}

/// What was recorded to be published, and is not removed yet.
enum RecordedEntries {
  static func page(_ types: [EventType], from: LogPosition, limit: Int, _ db: Database) throws -> [RecordedEvent] {
    let filter = types.isEmpty ? "" : "AND type IN (\(types.indices.map { "?\($0 + 3)" }.joined(separator: ", ")))"
    let select = try RawStatement(
      """
      SELECT \(EventRow.columns), '' AS stream, 0 AS version FROM warren_outbox WHERE position >= ?1 \(filter)
      ORDER BY position LIMIT ?2
      """, db)
    select.bind(1, from.rawValue)
    select.bind(2, Int64(limit))
    for (index, type) in types.enumerated() { select.bind(Int32(index + 3), type.name) }
    var events: [RecordedEvent] = []
    while try select.step() { events.append(try RecordedEvent(select)) }
    return events
  }
}

extension EventLog {
  /// A subscription whose handler does what it likes.
  /// - Parameters:
  ///   - name: 1 to 64 characters of `a-z`, `0-9` and `-`. Stable: it is in the file.
  ///   - types: the types of the events; empty: all.
  public func subscription(
    _ name: String, to types: [EventType] = [], options: Subscription.Options = .init(),
    handle: @escaping @Sendable (_ events: [RecordedEvent]) async throws -> Void
  ) -> Subscription {
    Subscription(self, name, types, options, .async(handle))
  }

  /// A subscription whose handler writes to the database, in the transaction that moves the checkpoint. It may run again, so
  /// it must do nothing else.
  public func subscription(
    _ name: String, to types: [EventType] = [], options: Subscription.Options = .init(),
    handle: @escaping @Sendable (_ events: [RecordedEvent], _ db: Database) throws -> Void
  ) -> Subscription {
    Subscription(self, name, types, options, .transaction(handle))
  }

  /// Puts the checkpoint of a subscription, which must not run in any process, to a place, and lets one begin anew that has
  /// lapsed.
  /// - Throws: ``StoreError``.
  public func restart(subscription name: String, at start: Subscription.Start) async throws {
    try ReaderCheckpoint.check(name, what: "subscription")
    let reader = Subscription.reader(name)
    try await transact { db in
      try ReaderCheckpoint.remove(reader, db)
      let position: Int64 =
        switch start {
        case .beginning: 0
        case .end: try ProjectionSession.head(db)
        case .after(let position): position.rawValue
        }
      try ReaderCheckpoint.insert(reader, at: position, db)
    }
  }
}
