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
/// throws on, what cannot be decoded and what no handler takes goes to the dead letters `<service>.dead.<type>`, with the
/// reason in headers, and is acknowledged when it is safe there. With ``RabbitMQConfiguration/topology`` at `declare`, the
/// exchanges, queues and bindings are declared at the start.
public actor Subscriber: Service, CustomStringConvertible {
  /// How a subscriber reads its queues.
  public struct Options: Sendable {
    /// The most deliveries that the broker sends ahead to each queue's reader, 1 to 65,535. 200.
    public var prefetch = 200
    /// The most handlers that run at once for each queue, 1 to the prefetch. 16.
    public var concurrency = 16
    /// How long handlers that run may go on when the subscriber stops or pauses, 0 to 30 min. 30 s.
    public var gracePeriod = Duration.seconds(30)
    /// A larger body is not taken into memory: the broker moves the message to the dead letters. 1 byte to 512 MiB. 16 MiB.
    public var maximumBodySize = 16 << 20
    /// What runs around every handler, the first one outermost.
    public var middleware: [Middleware<Delivery>] = []

    /// The defaults.
    public init() {}
  }

  private enum Wanted: Sendable { case run, pause, stop }
  private enum Phase: Sendable { case notStarted, starting, running, stopping, paused, ended }
  private struct Signals: Sendable {
    var wanted = Wanted.run
    var phase = Phase.notStarted
    var failure: RabbitMQError?
  }

  nonisolated let rabbit: RabbitMQ
  nonisolated let service: ServiceName
  nonisolated let subscription: String?
  nonisolated let options: Options
  nonisolated let logger: Logger
  nonisolated let handlers: [any DeliveryHandler]
  private nonisolated let signals = Watched(Signals())
  private var readers: [QueueReader] = []

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
  /// - Throws: `WarrenError` or ``RabbitMQError`` when the names, the options or the handlers cannot work, when the queues
  ///   cannot be declared or read, and when the broker ends the consuming: a deleted queue, a closed channel, a lost connection.
  public func run() async throws {
    let isSecond = signals.update { signals in
      defer { if signals.phase == .notStarted { signals.phase = .starting } }
      return signals.phase != .notStarted
    }
    if isSecond { throw WarrenError(.invalidConfiguration, "\(self): run() was called twice") }
    let readings: [Reading]
    do {
      readings = try plan()
    } catch {
      // Who waits for readiness hears the same.
      let reason = (error as? WarrenError)?.message ?? "\(error)"
      signals.update {
        $0.failure = RabbitMQError(.invalidConfiguration, reason)
        $0.phase = .ended
      }
      throw error
    }
    let signals = signals
    let failure = await withGracefulShutdownHandler {
      await consume(readings)
    } onGracefulShutdown: {
      signals.update { $0.wanted = .stop }
    }
    signals.update {
      $0.failure = failure
      $0.phase = .ended
    }
    if let failure { throw failure }
  }

  private func consume(_ readings: [Reading]) async -> RabbitMQError? {
    while true {
      let current = signals.value
      if Task.isCancelled { return await end(.zero, nil) }
      if let failure = current.failure { return await end(options.gracePeriod, failure) }
      switch current.wanted {
      case .stop: return await end(options.gracePeriod, nil)
      case .run where current.phase != .running:
        do throws(RabbitMQError) {
          try await start(readings)
          signals.update { $0.phase = .running }
        } catch {
          return await end(.zero, Task.isCancelled ? nil : error)
        }
      case .pause where current.phase != .paused:
        signals.update { $0.phase = .stopping }
        await stopReaders(options.gracePeriod)
        signals.update { $0.phase = .paused }
      case .run, .pause:
        _ = await signals.wait { $0.wanted != current.wanted || $0.failure != nil }
      }
    }
  }

  private func start(_ readings: [Reading]) async throws(RabbitMQError) {
    for reading in readings { try await rabbit.topology.ensure(reading.entities) }
    for reading in readings {
      let signals = signals
      let reader = QueueReader(
        queue: reading.processor.queue, connection: rabbit.consuming, prefetch: reading.prefetch,
        concurrency: reading.concurrency, maximumBodySize: options.maximumBodySize, process: reading.processor.process
      ) { error in
        signals.update { $0.failure = $0.failure ?? error }
      }
      readers.append(reader)
      do throws(RabbitMQError) {
        try await reader.start()
      } catch {
        await rabbit.topology.forget(reading.entities)
        throw RabbitMQError(
          error.code, "cannot consume \"\(reading.processor.queue)\": \(error.message)", isRetryable: error.isRetryable,
          replyCode: error.replyCode)
      }
    }
  }

  private func end(_ grace: Duration, _ failure: RabbitMQError?) async -> RabbitMQError? {
    signals.update { $0.phase = .stopping }
    await stopReaders(grace)
    return failure
  }

  private func stopReaders(_ grace: Duration) async {
    let stopping = readers
    readers = []
    await withTaskGroup(of: Void.self) { group in
      for reader in stopping {
        group.addTask { [logger] in
          let left = await reader.stop(grace: grace)
          if left > 0 {
            logger.info(
              "handlers do not end although they were cancelled; their events go back to the queue",
              metadata: ["queue": "\(reader.queue)", "handlers": "\(left)"])
          }
        }
      }
    }
  }

  // MARK: Readiness, pause and resume

  /// Returns when the broker has accepted all consumers.
  /// - Throws: ``RabbitMQError`` when that takes longer than `timeout`, when `run()` has ended before, or when the task is
  ///   cancelled.
  public nonisolated func waitUntilReady(timeout: Duration = .seconds(30)) async throws(RabbitMQError) {
    try await wait(for: .running, timeout: timeout, what: "ready")
  }

  /// Starts no further handler, and returns when those that ran have ended. What the broker had sent ahead goes back to the
  /// queues, where other instances of the service take it.
  /// - Throws: as ``waitUntilReady(timeout:)``.
  public nonisolated func pause() async throws(RabbitMQError) {
    signals.update { if $0.wanted != .stop { $0.wanted = .pause } }
    try await wait(for: .paused, timeout: options.gracePeriod + .seconds(30), what: "paused", unless: .run)
  }

  /// Consumes again after ``pause()``, and returns when the broker has accepted all consumers.
  /// - Throws: as ``waitUntilReady(timeout:)``.
  public nonisolated func resume() async throws(RabbitMQError) {
    signals.update { if $0.wanted != .stop { $0.wanted = .run } }
    try await wait(for: .running, timeout: .seconds(30), what: "ready", unless: .pause)
  }

  /// Ends `run()` as a graceful shutdown does.
  package nonisolated func stop() { signals.update { $0.wanted = .stop } }

  private nonisolated func wait(
    for phase: Phase, timeout: Duration, what: String, unless opposite: Wanted? = nil
  ) async throws(RabbitMQError) {
    let reached = await signals.wait(timeout: timeout) {
      $0.phase == phase || $0.phase == .ended || $0.failure != nil || $0.wanted == opposite
    }
    if let reached {
      if let failure = reached.failure { throw failure }
      if reached.phase == phase { return }
      if reached.phase == .ended { throw RabbitMQError(.connectionClosed, "\(self) has ended", isRetryable: true) }
      throw RabbitMQError(
        .cancelled, "\(self) was not \(what): the opposite was asked for meanwhile", isRetryable: true)
    }
    if Task.isCancelled { throw RabbitMQError(.cancelled, "the task was cancelled while it waited", isRetryable: true) }
    let hint = signals.value.phase == .notStarted ? ": its run() is not running" : ""
    throw RabbitMQError(.timedOut, "\(self) was not \(what) within \(timeout)\(hint)", isRetryable: true)
  }
}
