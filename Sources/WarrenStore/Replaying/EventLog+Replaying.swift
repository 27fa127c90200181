public import Warren

/// How far a replay has come.
public struct ReplayProgress: Sendable, Hashable {
  /// The id that all its events carry.
  public let id: String
  /// How many events are confirmed.
  public internal(set) var events = 0
  /// The position of the last of them.
  public internal(set) var last: LogPosition?
}

/// A replay that did not come to its end.
public struct ReplayError: Error, Sendable, CustomStringConvertible {
  /// What was sent.
  public let progress: ReplayProgress
  /// The event that could not be sent.
  public let position: LogPosition
  /// Why.
  public let outcome: PublishOutcome

  /// The text for messages and logs.
  public var description: String {
    "the replay \(progress.id) stopped at position \(position) behind \(progress.events) events: \(outcome)"
  }
}

extension EventLog {
  /// Sends events of the past once more, to one service that came later, or that makes something anew:
  ///
  /// ```swift
  /// try await log.replay(.init(types: FlightEvent.readTypes), to: rabbit.queues(of: "delays"))
  /// ```
  /// They keep their ids and carry the replay's in the header `warren-replay`. Only handlers that are made with
  /// `.replays(.handle)` take them; an inbox remembers them for this replay alone. Events that are appended meanwhile come by
  /// themselves, as always, and may come before the replay's last ones.
  /// - Parameters:
  ///   - query: which events, and from where on: a replay that was cut off goes on behind its last position with the same id.
  ///   - includesPrivate: also those that are not published otherwise.
  ///   - patience: how long a broker that is away is waited for.
  ///   - rate: the most events in a second; nil: no bound.
  /// - Throws: ``ReplayError``; ``StoreError``.
  @discardableResult
  public func replay(
    _ query: EventQuery, as id: String = EventID().text, to publisher: any EncodedPublisher,
    includesPrivate: Bool = false, patience: Duration = .seconds(60), rate: Int? = nil,
    onProgress: (ReplayProgress) -> Void = { _ in }
  ) async throws -> ReplayProgress {
    guard query.direction == .forwards else {
      throw StoreError(.invalidConfiguration, "direction is backwards: a replay goes forwards")
    }
    guard (1...200).contains(id.utf8.count) else {
      throw StoreError(.invalidConfiguration, "the replay's id has \(id.utf8.count) bytes: it must have 1 to 200")
    }
    if let rate { try OptionRules.check("rate", rate, 1...1_000_000) }
    var progress = ReplayProgress(id: id)
    let began = ContinuousClock.now
    for try await page in events(query).pages {
      let wanted = includesPrivate ? page : page.filter(\.isPublic)
      var rest = wanted[...]
      while !rest.isEmpty {
        let batch = Array(rest.prefix(rate.map { min(max(1, $0 / 10), 500) } ?? 500))
        try await send(batch, publisher, patience, &progress)
        rest = rest.dropFirst(batch.count)
        onProgress(progress)
        if let rate {
          try await Task.sleep(until: began + .seconds(1) / rate * progress.events)
        }
      }
    }
    return progress
  }

  private func send(
    _ events: [RecordedEvent], _ publisher: any EncodedPublisher, _ patience: Duration, _ progress: inout ReplayProgress
  ) async throws {
    var rest = events[...]
    var deadline = ContinuousClock.now + patience
    while let first = rest.first {
      try Task.checkCancellation()
      let encoded = rest.map { event in
        var metadata = event.metadata
        metadata.headers[EventHeaders.replay] = .string(progress.id)
        return EncodedEvent(metadata: metadata, body: event.body, hasOwnID: event.hasOwnID)
      }
      let outcomes = await publisher.publish(encoded: encoded)
      let confirmed = outcomes.prefix { $0.isConfirmed }.count
      if confirmed > 0 {
        progress.events += confirmed
        progress.last = rest[rest.startIndex + confirmed - 1].position
        rest = rest.dropFirst(confirmed)
        deadline = .now + patience
        if rest.isEmpty { return }
      }
      let outcome = confirmed < outcomes.count ? outcomes[confirmed] : .unknown("no outcome")
      let position = rest.first?.position ?? first.position
      switch outcome {
      case .unroutable, .refused: throw ReplayError(progress: progress, position: position, outcome: outcome)
      case .confirmed, .congested, .notPublished, .unknown:
        guard ContinuousClock.now < deadline else {
          throw ReplayError(progress: progress, position: position, outcome: outcome)
        }
        try await Task.sleep(for: .milliseconds(200))
      }
    }
  }
}
