public import GRDB
public import Warren

extension EventLog {
  /// Appends events to a stream in a commit of its own, which it may share with other callers, and returns when they are
  /// durable.
  ///
  /// ```swift
  /// let opened = try await log.append([AccountEvent.opened(owner: "Bo")], to: "account-42", expecting: .noStream)
  /// ```
  /// Positions follow the order of the commits and are never reused, and a reader that has seen one never sees a new event
  /// below it. Versions in a stream have no gaps.
  /// - Parameter request: an id, at most 255 bytes, under which this append happens once: appending again with it, within 30
  ///   days, appends nothing and returns what the first one came to.
  /// - Throws: ``ConflictError`` when the stream is not as expected; ``StoreError``, which says whether the events may have
  ///   been recorded all the same: with a request id, the way to find out is to append again.
  @discardableResult
  public func append<E: Event>(
    _ events: [E], to stream: StreamName, expecting: ExpectedVersion = .any, request: String? = nil,
    options: AppendOptions = .init()
  ) async throws -> Appended {
    try await append([StreamAppend(events, to: stream, expecting: expecting)], request: request, options: options)
  }

  /// Appends to several streams at once: all or nothing.
  /// - Throws: as for one stream; ``ConflictError`` names the first stream that is not as expected.
  @discardableResult
  public func append(
    _ appends: [StreamAppend], request: String? = nil, options: AppendOptions = .init()
  ) async throws -> Appended {
    try await append(try prepare(appends, request: request, options: options))
  }

  /// Appends events to a stream in the transaction that `db` is in.
  /// - Throws: ``ConflictError``, ``StoreError``, and what a projection in the append throws: after the last one the
  ///   transaction must not be committed.
  @discardableResult
  public func append<E: Event>(
    _ events: [E], to stream: StreamName, expecting: ExpectedVersion = .any, request: String? = nil,
    options: AppendOptions = .init(), in db: Database
  ) throws -> Appended {
    try append(
      [StreamAppend(events, to: stream, expecting: expecting)], request: request, options: options, in: db)
  }

  /// Appends to several streams in the transaction that `db` is in.
  /// - Throws: as for one stream.
  @discardableResult
  public func append(
    _ appends: [StreamAppend], request: String? = nil, options: AppendOptions = .init(), in db: Database
  ) throws -> Appended {
    try ProjectionRun.check()
    let prepared = try prepare(appends, request: request, options: options)
    try check(db)
    guard db.isInsideTransaction else {
      throw StoreError(.database, "appending needs a transaction: use log.transact or database.write")
    }
    return try storing {
      // A transaction that has only read so far could not be upgraded behind another one's commit.
      try db.cachedStatement(sql: "UPDATE warren_head SET position = position").execute()
      return try StreamWriter.append([prepared], bounds: bounds, inline: inline, db)[0].get()
    }
  }

  func append(_ prepared: PreparedAppend) async throws -> Appended {
    do {
      return try await committer.append(prepared)
    } catch {
      throw Self.explained(error)
    }
  }

  private func storing<R>(_ body: () throws -> R) throws -> R {
    do {
      return try body()
    } catch {
      throw Self.explained(error)
    }
  }

  /// What SQLite says becomes a ``StoreError``; a conflict, and what a projection throws, stay as they are.
  private static func explained(_ error: any Error) -> any Error {
    error is DatabaseError ? StoreError(error, doing: "appending") : error
  }

  /// Encodes and checks, on the caller's task.
  func prepare(
    _ appends: [StreamAppend], request: String?, options: AppendOptions, snapshot: StoredSnapshot? = nil
  ) throws(StoreError) -> PreparedAppend {
    guard !appends.isEmpty else { throw StoreError(.invalidEvent, "an append names one stream or more") }
    if let request, !(1...255).contains(request.utf8.count) {
      throw StoreError(.invalidEvent, "the request id has \(request.utf8.count) bytes: it must have 1 to 255")
    }
    if appends.count > 1, Set(appends.map(\.stream)).count < appends.count {
      throw StoreError(.invalidEvent, "an append names each stream once")
    }
    var parts: [PreparedAppend.Part] = []
    for append in appends { parts.append(try prepare(append, options)) }
    return PreparedAppend(parts, request: request, snapshot: snapshot)
  }

  private func prepare(_ append: StreamAppend, _ options: AppendOptions) throws(StoreError) -> PreparedAppend.Part {
    try append.stream.validate()
    switch append.content {
    case .encoded(let events, let isPublic):
      return PreparedAppend.Part(
        stream: append.stream, expecting: append.expecting, rows: try rows(events),
        isPublic: Array(repeating: isPublic, count: events.count))
    case .typed(let events):
      var publish = PublishOptions(
        key: options.key ?? append.stream.name, correlationID: options.correlationID, headers: options.headers,
        time: options.time)
      if let actor = options.actor { publish.actor = actor }
      publish.causationID = options.causationID
      var rows: [EventRow] = []
      rows.reserveCapacity(events.count)
      for event in events { rows.append(try encode(event, publish)) }
      return PreparedAppend.Part(
        stream: append.stream, expecting: append.expecting, rows: rows,
        isPublic: events.map { Swift.type(of: $0).publishes })
    }
  }
}
