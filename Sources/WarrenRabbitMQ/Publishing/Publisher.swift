public import Warren
import WarrenSupport

/// Publishes typed events: each to the exchange of its type, and each call returns when the broker has confirmed it.
///
/// ```swift
/// let publisher = Publisher(rabbit, source: "accounts")
/// try await publisher.publish(UserCreated(id: 1, name: "John Doe"))
/// ```
///
/// Many calls may be under way at once: they share one channel and one window of unconfirmed events
/// (``RabbitMQConfiguration/Publishing``), and wait their turn when it is full. Order is kept between calls that are
/// awaited one after the other, and inside ``publish(contentsOf:options:)``. Inside a handler a publish is collected: it
/// leaves when the handler has succeeded, with an id that is the same when the handler runs again.
///
/// An event is confirmed once, at least once on the wire: when an error says ``PublishError/mayHaveBeenPublished``, publish
/// again with the same id.
public actor Publisher: EncodedPublisher {
  /// What a publisher does beyond the defaults.
  public struct Options: Sendable {
    /// With a log: each publish waits until the broker has confirmed the event, for ``RabbitMQConfiguration/Publishing/timeout``
    /// at the most. What is not confirmed by then throws, stays recorded, and is delivered later.
    public var waitsForConfirm = false
    /// What becomes of an event for which no queue is bound.
    public var unroutable = UnroutablePolicy.fail
    /// What runs around every publish, the first one outermost, after the event was encoded. Not run for events that
    /// another part of Warren has recorded or collected before.
    public var middleware: [Middleware<EncodedEvent>] = []

    /// The defaults.
    public init() {}
  }

  nonisolated let rabbit: RabbitMQ
  private nonisolated let source: ServiceName
  nonisolated let options: Options
  nonisolated let log: (any EventRecorder)?
  nonisolated let collector: (any EncodedPublisher)?
  private nonisolated let observer = PublishObserver()
  private nonisolated let known = Lock<Set<EventType>>([])

  /// - Parameters:
  ///   - rabbit: the broker. Its `run()` must be running for a publish to succeed.
  ///   - source: the service that the events come from: AMQP's `app-id` and CloudEvents' `source`.
  ///   - log: with one, a publish returns when the event is recorded there, also while the broker is away; the log's relay
  ///     delivers it.
  ///   - options: what differs from the defaults.
  public init(
    _ rabbit: RabbitMQ, source: ServiceName, log: (any EventRecorder)? = nil, options: Options = .init()
  ) {
    self.rabbit = rabbit
    self.source = source
    self.log = log
    collector = log.map { RecordingPublisher($0) }
    self.options = options
  }

  /// Publishes one event and returns when the broker has confirmed it in every queue that it was routed to; with a log, when
  /// it is recorded there.
  ///
  /// Ends by the deadline ``RabbitMQConfiguration/Publishing/timeout`` at the latest, and early when the task is cancelled.
  /// - Throws: ``PublishError``, which says whether the event may have been published; `WarrenError` when the event, its type
  ///   or an option cannot be put on the wire; what a middleware throws.
  @discardableResult
  public nonisolated func publish<E: Event>(_ event: E, options: PublishOptions = .init()) async throws -> Receipt {
    let encoded = try encode(event, options)
    if let id = HandlerScope.current?.collect(encoded, hasChosenID: options.id != nil, for: collector ?? self) {
      return .collected(id)
    }
    return try await observer.publishing(encoded) { encoded in
      let last = Lock(encoded.metadata)
      let recorded = Lock<LogPosition?>(nil)
      try await self.options.middleware.run(encoded) { encoded in
        last.withLock { $0 = encoded.metadata }
        if let log = self.log {
          let position = try await self.record(encoded, in: log)
          recorded.withLock { $0 = position }
          return
        }
        let outcome = await self.send(encoded)
        if let error = PublishError(outcome, of: encoded.metadata) { throw error }
      }
      let id = last.withLock { $0.id } ?? EventID()
      return recorded.withLock { $0 }.map { .recorded(id, $0) } ?? .confirmed(id)
    }
  }

  /// Publishes events in order, many at once on the wire, and returns one receipt each, in the same order, when all are
  /// confirmed; with a log, when all are recorded.
  ///
  /// An event that fails does not stop those behind it. Each has the deadline of ``RabbitMQConfiguration/Publishing/timeout``
  /// from when the window has room for it; when the broker answers nothing for that long, the rest ends as not published.
  /// - Parameters:
  ///   - events: the events. The sequence is read as the window has room, so it may be long.
  ///   - options: what is to be said about each one.
  /// - Throws: ``BatchPublishError`` with an outcome for each event when one or more were not confirmed; `WarrenError` for the
  ///   first event that cannot be put on the wire: those before it are published, those behind it are not.
  @discardableResult
  public nonisolated func publish<E: Event>(
    contentsOf events: some Sequence<E>, options: (E) -> PublishOptions = { _ in .init() }
  ) async throws -> [Receipt] {
    let scope = HandlerScope.current
    if let log, scope == nil { return try await record(contentsOf: events, options: options, in: log) }
    var receipts: [Receipt] = []
    let batch = EncodedStream(self, isBatch: true)
    var failure: (any Error)?
    var metadata: [EventMetadata] = []
    for event in events {
      do {
        let eventOptions = options(event)
        var encoded = try encode(event, eventOptions)
        if let id = scope?.collect(encoded, hasChosenID: eventOptions.id != nil, for: collector ?? self) {
          receipts.append(.collected(id))
          continue
        }
        encoded = try await throughMiddleware(encoded)
        metadata.append(encoded.metadata)
        await batch.add(encoded)
      } catch {
        failure = error
        break
      }
    }
    let outcomes = await batch.finish()
    for outcome in outcomes { observer.count(outcome) }
    if let failure { throw failure }
    let first = zip(outcomes, metadata).lazy.compactMap { PublishError($0, of: $1) }.first
    if let first { throw BatchPublishError(outcomes: outcomes, first: first) }
    return receipts + metadata.map { .confirmed($0.id ?? EventID()) }
  }

  /// Publishes events that are encoded already, in order, with one outcome each. Part of ``EncodedPublisher``: for relays
  /// and tools; goes around the middleware and is never collected.
  public nonisolated func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    let batch = EncodedStream(self, isBatch: true)
    for event in events { await batch.add(event) }
    let outcomes = await batch.finish()
    for outcome in outcomes { observer.count(outcome) }
    return outcomes
  }

  /// Middleware may change an event of a batch or refuse it, but cannot wait for its outcome: that is what makes it a batch.
  nonisolated func throughMiddleware(_ event: EncodedEvent) async throws -> EncodedEvent {
    guard !options.middleware.isEmpty else { return event }
    let last = Lock<EncodedEvent?>(nil)
    try await options.middleware.run(event) { event in last.withLock { $0 = event } }
    guard let event = last.withLock({ $0 }) else {
      throw WarrenError(.invalidMetadata, "a middleware stopped the publish of \(event.metadata.type) without an error")
    }
    return event
  }

  // MARK: Encoding

  nonisolated func encode<E: Event>(_ event: E, _ options: PublishOptions) throws(WarrenError) -> EncodedEvent {
    let encoded = try EncodedEvent(event, options: options, source: source)
    let type = encoded.metadata.type
    if !known.withLock({ $0.contains(type) }) {
      try source.validate()
      try type.validate()
    }
    return encoded
  }

  /// The frames of an event, or why it cannot be sent. Where its exchange has to be declared first, that may take as long
  /// as `timeout`.
  nonisolated func prepare(_ event: EncodedEvent, within timeout: Duration) async -> Result<PublishRequest, Refusal> {
    let type = event.metadata.type
    let limit = rabbit.configuration.publishing.maximumBodySize
    guard event.body.count <= limit else {
      return .failure(.init(.refused("the body has \(event.body.count) bytes; publishing.maximumBodySize is \(limit)")))
    }
    let exchange = EntityNames.exchange(of: type)
    do throws(WarrenError) {
      if !known.withLock({ $0.contains(type) }) {
        try type.validate()
        if let problem = await declare(type, within: timeout) { return .failure(.init(problem)) }
      }
      let head = try PublishHead(event, exchange: exchange, takesBody: true)
      return .success(PublishRequest(exchange: exchange, head: head, body: head.hasBody ? nil : event.body))
    } catch {
      return .failure(.init(.refused(error.message)))
    }
  }

  private nonisolated func declare(_ type: EventType, within timeout: Duration) async -> PublishOutcome? {
    do throws(RabbitMQError) {
      try await rabbit.topology.ensure([.exchange(of: type)], within: timeout)
      known.withLock { _ = $0.insert(type) }
      return nil
    } catch {
      return error.isRetryable ? .notPublished(error.message) : .refused(error.message)
    }
  }

  // MARK: Sending

  private nonisolated func send(_ event: EncodedEvent) async -> PublishOutcome {
    rabbit.events.count(1)
    defer { rabbit.events.count(-1) }
    let start = ContinuousClock.now
    switch await prepare(event, within: rabbit.configuration.publishing.timeout) {
    case .failure(let refusal): return refusal.outcome
    case .success(let request):
      let outcome = await rabbit.events.publish(request, since: start)
      return await judge(outcome, of: event.metadata.type)
    }
  }

  /// What the broker's verdict means for this publisher.
  nonisolated func judge(_ outcome: PublishOutcome, of type: EventType) async -> PublishOutcome {
    switch outcome {
    case .unroutable where options.unroutable == .accept: return .confirmed
    case .refused:
      // The exchange may have been deleted: the next publish declares it again.
      known.withLock { _ = $0.remove(type) }
      await rabbit.topology.forget([.exchange(of: type)])
      return outcome
    case .confirmed, .unroutable, .congested, .notPublished, .unknown: return outcome
    }
  }

  struct Refusal: Error {
    var outcome: PublishOutcome
    init(_ outcome: PublishOutcome) { self.outcome = outcome }
  }

  nonisolated var channel: PublishingChannel { rabbit.events }

  /// For events that come over time: each `add` takes one, outcomes come in the same order.
  package nonisolated func stream() -> EncodedStream { EncodedStream(self, isBatch: false) }
}

/// What a publisher without a log does with an event for which no queue is bound.
public enum UnroutablePolicy: String, Sendable, CaseIterable {
  /// Throws ``PublishError`` with code `unroutable`: nobody would ever receive it.
  case fail
  /// Counts it as confirmed: nobody listens, and that is fine.
  case accept
}
