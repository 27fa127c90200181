public import Logging
public import ServiceLifecycle
public import Warren

/// Consumes events: one queue for each event type of a service, shared by all its instances, and a typed handler for each.
///
/// ```swift
/// let mailer = Subscriber(rabbit, service: "mailer") {
///   On(UserCreated.self) { user, context in try await mail.welcome(user.name) }
/// }
/// try await ServiceGroup(services: [rabbit, mailer], gracefulShutdownSignals: [.sigterm], logger: logger).run()
/// ```
///
/// A delivery is acknowledged after its handler has returned, never before: an event is handled at least once. What a handler
/// throws on is tried again as the ``RetryPolicy`` says; what is not tried again, what cannot be decoded and what no handler
/// takes goes to the dead letters `<service>.dead.<type>`, with the reason in headers, and is acknowledged when it is safe
/// there. An event whose handler ends the process is found: one that comes back again and again is delivered alone, and goes
/// to the dead letters with the cause `crashLoop` when it has come back six times. With ``RabbitMQConfiguration/topology`` at `declare`, the
/// exchanges, queues and bindings are declared at the start, and again when somebody deletes them.
///
/// Consuming goes on by itself after any loss: of the connection, the consumer, the channel, the queue. What the broker
/// refuses (a missing permission, a queue with other settings) suspends that one queue and is tried again after 1, 2, 4 … 30 s;
/// ``health`` tells which, and why. After a loss unacknowledged events are delivered again; one whose handler still runs
/// waits for that handler's outcome.
public actor Subscriber: Service, CustomStringConvertible {
  /// How a subscriber reads its queues.
  public struct Options: Sendable {
    /// The most deliveries that the broker sends ahead to each queue's reader, 1 to 65,535. 200. The first delivery of a
    /// reading comes alone; the others come beside it. While they come in a stream, one may wait 0.2 ms for company.
    public var prefetch = 200
    /// The most handlers that run at once for each queue, 1 to the prefetch. 16.
    public var concurrency = 16
    /// How long handlers that run may go on when the subscriber stops or pauses, 0 to 30 min. 30 s.
    public var gracePeriod = Duration.seconds(30)
    /// A larger body is not taken into memory: the broker moves the message to the dead letters. 1 byte to 512 MiB. 16 MiB.
    public var maximumBodySize = 16 << 20
    /// What is done when a handler throws that says nothing else.
    public var retry = RetryPolicy.standard
    /// The delays that events can wait for in queues of the broker before they are handled again, one queue for each that is
    /// used: `<service>.retry.<delay>`. 1 to 20, each 100 ms to 1 day. 1, 5, 30 s, 2, 10 min, 1 h.
    public var retryLadder: [Duration] = [
      .seconds(1), .seconds(5), .seconds(30), .seconds(120), .seconds(600), .seconds(3600),
    ]
    /// How long one run of a handler may take that says nothing else, 1 ms to 25 min: the broker takes everything back after 30.
    /// See ``DeliveryHandler/timeout(_:)``. 25 min.
    public var handlerTimeout = Duration.seconds(1500)
    /// What runs around every handler, the first one outermost.
    public var middleware: [Middleware<Delivery>] = []

    /// The defaults.
    public init() {}
  }

  nonisolated let rabbit: RabbitMQ
  nonisolated let service: ServiceName
  nonisolated let subscription: String?
  nonisolated let options: Options
  nonisolated let logger: Logger
  nonisolated let handlers: [any DeliveryHandler]
  nonisolated let signals = Watched(ConsumingSignals())

  /// - Parameters:
  ///   - rabbit: the broker. Its `run()` must be running.
  ///   - service: the service that owns the queues. Instances with the same name share them.
  ///   - subscription: the name of a second, independent reader of the same events inside the service: it has queues of its
  ///     own. The rules are those of service names.
  ///   - options: what differs from the defaults.
  ///   - handlers: one handler for each event type, and possibly an ``Otherwise``.
  public init(
    _ rabbit: RabbitMQ, service: ServiceName, subscription: String? = nil, options: Options = .init(),
    logger: Logger = Logger(label: "warren.subscriber"), @HandlerBuilder handlers: @Sendable () -> [any DeliveryHandler]
  ) {
    self.rabbit = rabbit
    self.service = service
    self.subscription = subscription
    self.options = options
    self.logger = logger
    self.handlers = handlers()
  }

  /// The text for messages and logs.
  public nonisolated var description: String { "Subscriber(\(service)\(subscription.map { "_\($0)" } ?? ""))" }

  /// Consumes until the task group shuts down gracefully or the task is cancelled.
  ///
  /// A graceful shutdown starts no further handler, waits for those that run, for ``Options/gracePeriod`` at the most, and
  /// acknowledges what they finished; a cancellation cancels the handlers. Whatever is unfinished goes back to its queue.
  /// - Throws: `WarrenError` when the names, the options or the handlers cannot work; ``RabbitMQError`` when the connection is
  ///   closed for good, and with ``RabbitMQConfiguration/Startup/failFast`` when the queues cannot be declared or read at
  ///   first.
  public func run() async throws {
    let signals = signals
    let isSecond = signals.update { signals in
      defer { signals.hasStarted = true }
      return signals.hasStarted
    }
    if isSecond { throw WarrenError(.invalidConfiguration, "\(self): run() was called twice") }
    let consumers: [QueueConsumer]
    do {
      consumers = try plan().enumerated().map { index, reading in
        QueueConsumer(reading, number: index, rabbit: rabbit, options: options, signals: signals, logger: logger)
      }
    } catch {
      // Who waits for readiness hears the same.
      let reason = (error as? WarrenError)?.message ?? "\(error)"
      signals.update {
        $0.failure = RabbitMQError(.invalidConfiguration, reason)
        $0.hasEnded = true
      }
      throw error
    }
    signals.update { $0.consumers = consumers.map { ConsumerState(queue: $0.queue) } }
    let registration = rabbit.register { signals.value.consumers.map(\.health) }
    let failure = await withGracefulShutdownHandler {
      await consume(consumers)
    } onGracefulShutdown: {
      signals.update { $0.wanted = .stop }
    }
    rabbit.unregister(registration)
    signals.update {
      $0.failure = $0.failure ?? failure
      $0.hasEnded = true
    }
    if let failure { throw failure }
  }

  /// Each queue lives on its own; the first that can never be read ends all.
  private func consume(_ consumers: [QueueConsumer]) async -> RabbitMQError? {
    await withTaskGroup(of: RabbitMQError?.self) { group in
      for consumer in consumers { group.addTask { await consumer.run() } }
      var failure: RabbitMQError?
      for await error in group {
        guard let error, failure == nil else { continue }
        failure = error
        signals.update { signals in
          signals.failure = error
          signals.wanted = .stop
        }
      }
      return failure
    }
  }

  /// How each queue of this subscriber stands; empty before `run()`.
  public nonisolated var health: [ConsumerHealth] { signals.value.consumers.map(\.health) }

  // MARK: Readiness, pause and resume

  /// Returns when the broker has accepted all consumers.
  /// - Throws: ``RabbitMQError`` when that takes longer than `timeout`, when the broker refuses a queue (which is tried again
  ///   nevertheless), when `run()` has ended before, or when the task is cancelled.
  public nonisolated func waitUntilReady(timeout: Duration = .seconds(30)) async throws(RabbitMQError) {
    try await wait(until: \.areConsuming, timeout: timeout, what: "ready")
  }

  /// Starts no further handler, and returns when those that ran have ended. What the broker had sent ahead goes back to the
  /// queues, where other instances of the service take it.
  /// - Throws: as ``waitUntilReady(timeout:)``.
  public nonisolated func pause() async throws(RabbitMQError) {
    signals.update { if $0.wanted != .stop { $0.wanted = .pause } }
    try await wait(until: \.arePaused, timeout: options.gracePeriod + .seconds(30), what: "paused", unless: .run)
  }

  /// Consumes again after ``pause()``, and returns when the broker has accepted all consumers.
  /// - Throws: as ``waitUntilReady(timeout:)``.
  public nonisolated func resume() async throws(RabbitMQError) {
    signals.update {
      if $0.wanted != .stop { $0.wanted = .run }
      $0.resumptions += 1
    }
    try await wait(until: \.areConsuming, timeout: .seconds(30), what: "ready", unless: .pause)
  }

  /// Ends `run()` as a graceful shutdown does.
  package nonisolated func stop() { signals.update { $0.wanted = .stop } }

  private nonisolated func wait(
    until goal: any KeyPath<ConsumingSignals, Bool> & Sendable, timeout: Duration, what: String,
    unless opposite: ConsumingSignals.Wanted? = nil
  ) async throws(RabbitMQError) {
    let reached = await signals.wait(timeout: timeout) {
      $0[keyPath: goal] || $0.hasEnded || $0.failure != nil || $0.refusal != nil || $0.wanted == opposite
    }
    if let reached {
      if let failure = reached.failure ?? reached.refusal { throw failure }
      if reached[keyPath: goal], !reached.hasEnded { return }
      if reached.hasEnded { throw RabbitMQError(.connectionClosed, "\(self) has ended", isRetryable: true) }
      throw RabbitMQError(
        .cancelled, "\(self) was not \(what): the opposite was asked for meanwhile", isRetryable: true)
    }
    if Task.isCancelled { throw RabbitMQError(.cancelled, "the task was cancelled while it waited", isRetryable: true) }
    let now = signals.value
    guard now.hasStarted else {
      throw RabbitMQError(
        .timedOut, "\(self) was not \(what) within \(timeout): its run() is not running", isRetryable: true)
    }
    let reason =
      now.consumers.lazy.compactMap(\.lastFailure).first
      ?? (rabbit.consuming.isOpen ? nil : rabbit.consuming.notOpen("within \(timeout)"))
    throw RabbitMQError(
      reason?.code ?? .timedOut,
      "\(self) was not \(what) within \(timeout)\(reason.map { ": \($0.message)" } ?? "")", isRetryable: true)
  }
}
