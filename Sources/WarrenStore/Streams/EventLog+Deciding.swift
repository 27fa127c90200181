public import GRDB
public import Warren

/// What a command led to.
public struct Decision<D: Decider>: Sendable {
  /// The state behind its events.
  public let state: D
  /// Its events; none when there was nothing to do, or when the command was run before.
  public let events: [D.Event]
  /// Where they are.
  public let appended: Appended

  /// The stream's version now.
  public var version: Int64 { appended.version }
  /// Where a reader is that has seen the events.
  public var position: LogPosition { appended.position }
}

extension EventLog {
  /// Loads a decider's state, lets it decide, and appends the events; begins again with the new state when somebody else was
  /// first.
  ///
  /// ```swift
  /// let done = try await log.run(Account.self, "42", .withdraw(cents: 500), request: id)
  /// done.state.cents
  /// ```
  /// - Parameters:
  ///   - id: which one: the stream is `<category>-<id>`.
  ///   - request: an id under which the command is run once: running it again decides nothing and returns the present state
  ///     with what was appended then.
  ///   - attempts: how often it is decided at most before the conflict is thrown, 1 or more.
  /// - Throws: the decider's refusal; ``ConflictError`` when others were first each time; ``StoreError``.
  @discardableResult
  public func run<D: Decider>(
    _ type: D.Type, _ id: String, _ command: D.Command, request: String? = nil, options: AppendOptions = .init(),
    attempts: Int = 10
  ) async throws -> Decision<D> {
    let stream = try StreamName(category: D.category, id: id)
    var attempt = 1
    while true {
      var (folded, first) = try await load(D.self, stream, request)
      if let request, let first {
        return Decision(state: folded.state, events: [], appended: try first.checked(stream, request))
      }
      let events = try folded.state.decide(command)
      if events.isEmpty, request == nil {
        return Decision(
          state: folded.state, events: [],
          appended: Appended(versions: [.init(stream: stream, version: folded.version)]))
      }
      let before = folded.version
      folded.state.evolve(events)
      folded.version += Int64(events.count)
      let prepared = try prepare(
        [StreamAppend(events, to: stream, expecting: .version(before))], request: request, options: options,
        snapshot: StreamFold.due(folded.state, stream, from: before, to: folded.version))
      do {
        let appended = try await append(prepared)
        guard !appended.isRepeat else {
          // The same request, at the same time.
          let now = try await load(D.self, stream, nil).folded
          return Decision(state: now.state, events: [], appended: appended)
        }
        return Decision(state: folded.state, events: events, appended: appended)
      } catch let conflict as ConflictError {
        attempt += 1
        guard attempt <= attempts else { throw conflict }
      }
    }
  }

  /// The same in the transaction that `db` is in, where nobody else can be first.
  @discardableResult
  public func run<D: Decider>(
    _ type: D.Type, _ id: String, _ command: D.Command, request: String? = nil, options: AppendOptions = .init(),
    in db: Database
  ) throws -> Decision<D> {
    try check(db)
    let stream = try StreamName(category: D.category, id: id)
    if let request, let first = try StreamWriter.known(request, db) {
      let now = try StreamFold.fold(D.self, stream, at: .latest, db)
      return Decision(state: now.state, events: [], appended: try first.checked(stream, request))
    }
    var folded = try StreamFold.fold(D.self, stream, at: .latest, db)
    let events = try folded.state.decide(command)
    let before = folded.version
    folded.state.evolve(events)
    let appended = try append(
      events, to: stream, expecting: .version(before), request: request, options: options, in: db)
    if let snapshot = StreamFold.due(folded.state, stream, from: before, to: appended.version) {
      try Snapshots.write(snapshot, db)
    }
    return Decision(state: folded.state, events: events, appended: appended)
  }

  /// The state of a decider now or at an earlier moment.
  /// - Throws: ``StoreError``, with code ``StoreError/Code/undecodable`` when an event cannot be read.
  public func state<D: Decider>(
    _ type: D.Type, _ id: String, at moment: StreamMoment = .latest
  ) async throws -> Folded<D> {
    let stream = try StreamName(category: D.category, id: id)
    if moment == .latest { return try await load(D.self, stream, nil).folded }
    return try await reading { try StreamFold.fold(D.self, stream, at: moment, $0) }
  }

  /// The state of a stream now, and what a request came to before.
  private func load<D: Decider>(
    _ type: D.Type, _ stream: StreamName, _ request: String?
  ) async throws -> (folded: Folded<D>, first: Appended?) {
    let wish = StreamLoader.Wish(stream: stream, request: request, snapshot: StreamFold.snapshotKind(D.self))
    let loaded = try await loader.load(wish, from: self)
    if let folded = try StreamFold.fold(D.self, loaded, of: stream) { return (folded, loaded.known) }
    // A snapshot that cannot be read is passed over.
    let whole = try await reading {
      try StreamFold.fold(D.self, stream, at: .latest, useSnapshots: false, $0)
    }
    return (whole, loaded.known)
  }
}

extension Appended {
  /// - Throws: ``StoreError`` when the request was about another stream.
  fileprivate func checked(_ stream: StreamName, _ request: String) throws(StoreError) -> Appended {
    guard versions.map(\.stream) == [stream] else { throw StreamWriter.reused(request, self) }
    return self
  }
}
