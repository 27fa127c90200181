import GRDB
public import Warren

/// How one version of a projection stands.
public struct ProjectionStatus: Sendable, Hashable {
  /// Its name.
  public var name: String
  /// Its version.
  public var version: Int
  /// True for the version that readers see; false while it is built.
  public var isLive: Bool
  /// True when it runs inside appends.
  public var isInline: Bool
  /// Everything of its types up to here is in its tables, or among ``poisoned``.
  public var position: LogPosition
  /// The last position of the log.
  public var head: LogPosition
  /// What it has not seen yet.
  public var lag: ReaderLag
  /// Why it does not get on; nil when it does.
  public var problem: String?
  /// Events that it could not take, by what became of them: `skipped`, `held`, `behind`, `retry`.
  public var poisoned: [String: Int]
}

/// An event that a projection could not take.
public struct PoisonedEvent: Sendable, Hashable {
  /// Its place in the log.
  public let position: LogPosition
  /// Its stream.
  public let stream: StreamName
  /// `skipped`: left out; `held`: set aside; `behind`: set aside behind one of its stream; `retry`: to be tried again.
  public let state: String
  /// What the projection threw.
  public let text: String
}

extension EventLog {
  /// A projection behind the appends, as a service.
  public func projector(_ projection: any Projection, options: Projector.Options = .init()) -> Projector {
    Projector(self, projection, options)
  }

  /// Runs a projection inside each append from now on: who reads its tables sees an event as soon as it is appended. A new
  /// version, or one that is new to a log with events, is built first; this returns when it is in use.
  ///
  /// Each process that appends to the file has to add it before its first append: the file knows, and refuses others.
  /// - Throws: ``StoreError``; ``ProjectionError`` when it cannot take an event that there is.
  public func add(inline projection: any Projection, onPoison handling: PoisonHandling = .stop) async throws {
    let session = ProjectionSession(
      runner: ProjectionRunner(projection: projection, log: self, handling: handling), kind: .inline)
    if case .superseded(let version) = try await session.begin() { throw Self.superseded(projection, version) }
    guard let lock = await ReaderTurn.take(self, suffix: "-projection-\(projection.name)-\(projection.version)") else {
      throw CancellationError()
    }
    defer { lock.release() }
    while true {
      try Task.checkCancellation()
      switch try await session.step() {
      case .more: continue
      case .idle:
        if try await session.changeKind() { return }
      case .stopped:
        let problem = try await projections().first { $0.name == projection.name && $0.version == projection.version }
        throw StoreError(
          .undecodable, "the projection \(projection.name) cannot be built: \(problem?.problem ?? "it stopped")")
      case .superseded(let version): throw Self.superseded(projection, version)
      }
    }
  }

  private static func superseded(_ projection: any Projection, _ version: Int) -> StoreError {
    StoreError(
      .projectionMissing,
      "version \(version) of the projection \(projection.name) is in use, which is newer than \(projection.version): start the newer program"
    )
  }

  /// Takes a projection, or a mapper, out of the appends. A projection's tables stay as they are.
  public func removeInline(_ name: String) async throws {
    try await transact { db in
      try InlineReaders.leave(name, db)
      for row in try ProjectionRow.all(name, db) where row.kind == .inline {
        var row = row
        if row.state == .live {
          let position = try ReaderCheckpoint.position(row.reader, db) ?? 0
          try ReaderCheckpoint.move(
            row.reader, from: position, to: try ProjectionSession.head(db), events: 0, db)
        }
        row.kind = .async
        try row.write(db)
      }
      self.inline.remove(name, db)
    }
  }

  /// Removes a projection with all versions of its tables. It must not run in any process.
  public func drop(projection name: String) async throws {
    try await transact { db in
      for row in try ProjectionRow.all(name, db) { try row.drop(db) }
      try InlineReaders.leave(name, db)
      self.inline.remove(name, db)
    }
  }

  /// Returns when the projection has seen everything up to a position: with the one that an append returned, its tables show
  /// what was appended.
  ///
  /// Waits for the version of `projection`, also while it is built.
  /// - Throws: ``StoreError`` with code ``StoreError/Code/timedOut``, which says what keeps it.
  public func wait(
    for projection: any Projection, reached position: LogPosition, timeout: Duration = .seconds(10)
  ) async throws {
    let end = ContinuousClock.now + timeout
    let (name, version, types) = (projection.name, projection.version, projection.eventTypes)
    while true {
      let generation = commits.generation
      if try await reading({ try Self.has(name, version, types, reached: position, $0) }) { return }
      try Task.checkCancellation()
      let left = end - .now
      guard left > .zero else {
        let status = try await projections().first { $0.name == name && $0.version == version }
        let place = status.map { $0.isLive ? "is at \($0.position)" : "is being built and at \($0.position)" }
        throw StoreError(
          .timedOut,
          "the projection \(name) version \(version) has not reached \(position) within \(timeout): it \(place ?? "has not begun")\(status?.problem.map { " and stands before \($0)" } ?? ""). Does its projector run?",
          isRetryable: true)
      }
      await commits.next(after: generation, atMost: left)
    }
  }

  private static func has(
    _ name: String, _ version: Int, _ types: [EventType], reached target: LogPosition, _ db: Database
  ) throws -> Bool {
    guard let row = try ProjectionRow.find(name, version, db), row.state == .live else { return false }
    if row.kind == .inline { return true }
    let position = try ReaderCheckpoint.position(row.reader, db) ?? 0
    if position >= target.rawValue { return true }
    // Where nothing of its types is between, it does not write down that it has passed.
    var pages = PageReader(EventQuery(types: types, from: .position(LogPosition(rawValue: position + 1)), limit: 1))
    guard let next = try pages.page(db).first else { return true }
    return next.position > target
  }

  /// How all projections of the file stand.
  /// - Throws: ``StoreError``.
  public func projections() async throws -> [ProjectionStatus] {
    try await reading { db in
      let head = try ProjectionSession.head(db)
      return try ProjectionRow.all(nil, db).map { row in
        let isInline = row.kind == .inline && row.state == .live
        let stand = try isInline ? nil : ReaderStand.read(row.reader, db)
        return ProjectionStatus(
          name: row.name, version: row.version, isLive: row.state == .live, isInline: isInline,
          position: LogPosition(rawValue: isInline ? head : stand?.position ?? 0), head: LogPosition(rawValue: head),
          lag: stand?.lag ?? .none, problem: row.problem, poisoned: try PoisonedEvents.counts(row.reader, db))
      }
    }
  }

  /// Events that the version of a projection that is in use could not take, the oldest first.
  /// - Throws: ``StoreError``.
  public func poisoned(in name: String, limit: Int = 100) async throws -> [PoisonedEvent] {
    try await reading { db in
      guard let live = try ProjectionRow.live(name, db) else { return [] }
      return try Row.fetchAll(
        db, sql: "SELECT * FROM warren_poison WHERE reader = ? ORDER BY position LIMIT ?",
        arguments: [live.reader, limit]
      ).map { row in
        PoisonedEvent(
          position: LogPosition(rawValue: row["position"]), stream: StreamName(trusted: row["stream"]),
          state: row["state"], text: row["text"])
      }
    }
  }

  /// Lets all events that a projection could not take be tried again, in order; its projector does it, or, of one inside
  /// appends, the next ``add(inline:onPoison:)``.
  /// - Returns: how many.
  /// - Throws: ``StoreError``.
  @discardableResult
  public func retryPoisoned(in name: String) async throws -> Int {
    try await transact { db in
      guard let live = try ProjectionRow.live(name, db) else { return 0 }
      return try PoisonedEvents.retryAll(live.reader, db)
    }
  }
}
