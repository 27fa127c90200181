public import Warren

extension EventLog {
  /// Makes, for each event that is appended, the events that other services get to know of it: in the same transaction, so that
  /// none is missing and none is there without the other. The event itself stays private.
  ///
  /// ```swift
  /// try await log.add(mapper: "accounts", of: AccountEvent.self) { event, recorded in
  ///   guard case .opened(let owner) = event else { return [] }
  ///   return [AccountOpened(account: recorded.stream.name, owner: owner)]
  /// }
  /// ```
  /// What it returns is recorded with the stream as its key, the event's id as its causation, and the event's correlation. Each
  /// process that appends to the file has to add the mapper before its first append: the file knows, and refuses others.
  /// - Parameter name: 1 to 64 characters of `a-z`, `0-9` and `-`. Stable: it is in the file.
  /// - Throws: ``StoreError``.
  public func add<E: Event>(
    mapper name: String, of type: E.Type,
    _ map: @escaping @Sendable (_ event: E, _ recorded: RecordedEvent) throws -> [any Event]
  ) async throws {
    try ReaderCheckpoint.check(name, what: "mapper")
    let types = Set(E.readTypes)
    let reader = InlineReaders.Reader(name: "mapper.\(name)/1") { [weak self] events, db in
      guard let self else { return }
      for event in events where types.contains(event.type) {
        var options = PublishOptions(key: event.stream.name)
        options.causationID = event.metadata.id?.text
        options.correlationID = event.metadata.correlationID ?? event.metadata.id?.text
        var rows: [EventRow] = []
        for outgoing in try map(try event.decoded(as: E.self), event) { rows.append(try encode(outgoing, options)) }
        if !rows.isEmpty { _ = try append(rows, db) }
      }
    }
    try await transact { db in
      try InlineReaders.enter(reader.name, db)
      self.inline.add(reader, db)
    }
  }

  /// Takes a mapper out of the appends.
  /// - Throws: ``StoreError``.
  public func remove(mapper name: String) async throws {
    try await transact { db in
      try InlineReaders.leave("mapper.\(name)", db)
      self.inline.remove("mapper.\(name)", db)
    }
  }
}
