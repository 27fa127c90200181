import Warren
import WarrenSupport

/// Reads one queue on a channel of its own: takes deliveries as the broker sends them, gives each to a handler, as many at
/// once as the concurrency allows, and acknowledges after the handler. From one start to one stop, or to the loss of its
/// channel.
final class QueueReader: ChannelListener {
  /// What is to be done with a delivery after its processing.
  enum Settlement: Equatable, Sendable {
    case acknowledge
    /// The broker moves it to the dead letters by itself.
    case reject
    /// Neither: it goes back to the queue when the channel closes.
    case leave
    /// For one that came from a store: it waits there again.
    case parkAgain(ParkedDelivery)
  }
  typealias Process = @Sendable (IncomingMessage, DeliveryStages) async -> Settlement

  /// Why a reading has ended that nobody has stopped.
  enum End: Sendable {
    case lost(RabbitMQError)
    /// A delivery that has come back too often arrived beside others. No handler runs any more.
    case suspicious
    /// Too many deliveries wait for others of their key.
    case orderBlocked
  }

  /// How it reads.
  struct Pace: Sendable {
    var prefetch: Int
    var concurrency: Int
    var maximumBodySize: Int
    var window = CrashWindow.Kind.open
    /// The key whose order a message keeps.
    var order: (@Sendable (IncomingMessage) -> String?)?
  }

  let queue: String
  let connection: BrokerConnection
  let pace: Pace
  let process: Process
  let leftovers: Leftovers
  let returned: ReturnedDeliveries
  /// Its number among the readers of the same queue.
  let number: Int
  let onHold: @Sendable (RabbitMQError?) -> Void
  let onEnd: @Sendable (End) -> Void

  struct State {
    var channel: ChannelID?
    var tag = "warren-\(EventID())"
    var line = DeliveryLine()
    var window: CrashWindow
    /// Not to be handled beside others.
    var held: [IncomingMessage] = []
    var idle: [CheckedContinuation<Void, Never>] = []
    /// A worker was woken and has not looked yet. It wakes the next one when there is more: one at a time, because waking
    /// costs as much as a small handler, and workers that are awake already take most of a burst.
    var isWaking = false
    var tracker = AckTracker()
    var isAccepting = true
    var isStarted = false
    var failure: RabbitMQError?
    var workers: [Task<Void, Never>] = []
    /// What each worker is at.
    var current: [Worker] = []
    var lastRun: UInt64 = 0
    /// Handlers that have taken too long; others work in their place.
    var overdue: [UInt64: OverdueRun] = [:]
    var takeovers: [UInt64: Task<Void, Never>] = [:]
    /// The window opens as soon as it may.
    var isOpeningDue = false
    /// It is about to: the first delivery is not acknowledged until then, so that the consumer that goes has nothing on its way.
    var isOpening = false
    var isTicking = false
    /// What holds up all, by the runs that it happens to.
    var holds: [UInt64: RabbitMQError] = [:]
    var running = 0
    /// A handler may be started now.
    var mayBegin: Bool { holds.isEmpty && (running == 0 || !window.isSequential) }
    /// The channel is gone: what still runs is told to the leftovers.
    var isLost = false
    var lastProgress: ContinuousClock.Instant?
    /// Finished since the head was last acknowledged.
    var sinceHead = 0
    /// A flush is coming, for what is not acknowledged by number.
    var isTimed = false
  }
  /// What a worker is at.
  struct Worker {
    /// Numbers what is begun, from 1; 0 while the worker waits.
    var run: UInt64 = 0
    var entry: DeliveryEntry?
    var deadline: ContinuousClock.Instant?
  }
  let state: Lock<State>
  /// Zero once no handler runs any more; only looked at when no more are started.
  let stillRunning = Watched(Int.max)
  /// With an order: arrivals on their way into the line, because finding a key may take a while.
  let arrivals: (stream: AsyncStream<[DeliveryEntry]>, continuation: AsyncStream<[DeliveryEntry]>.Continuation)?

  /// `onEnd` hears when the reading has ended in another way than by a stop; `onHold` what keeps it from starting handlers.
  init(
    queue: String, connection: BrokerConnection, pace: Pace, leftovers: Leftovers = Leftovers(),
    returned: ReturnedDeliveries = ReturnedDeliveries(), process: @escaping Process,
    onHold: @escaping @Sendable (RabbitMQError?) -> Void = { _ in },
    onEnd: @escaping @Sendable (End) -> Void
  ) {
    self.queue = queue
    self.connection = connection
    self.pace = pace
    self.leftovers = leftovers
    self.returned = returned
    number = leftovers.newReader()
    self.process = process
    self.onHold = onHold
    self.onEnd = onEnd
    state = Lock(
      State(
        window: CrashWindow(limit: pace.prefetch, pace.window)))
    arrivals = pace.order == nil ? nil : AsyncStream.makeStream()
  }

  /// Returns when the broker has accepted the consumer.
  func start() async throws(RabbitMQError) {
    let channel = try await openChannel()
    let (tag, limit) = state.withLock { state in
      state.current = Array(repeating: Worker(), count: pace.concurrency)
      state.workers = (0..<pace.concurrency).map { number in Task { await self.work(number) } }
      if let arrivals {
        state.workers.append(
          Task {
            for await entries in arrivals.stream { self.sort(entries) }
          })
      }
      return (state.tag, state.window.isProbing ? 1 : pace.prefetch)
    }
    // The limit must be set before the consumer that it is for (RabbitMQ, "Consumer Prefetch").
    try await connection.request(.setPrefetch(limit), on: channel)
    try await connection.request(.consume(queue: queue, tag: tag), on: channel)
    let failure = state.withLock { state in
      state.isStarted = true
      return state.failure
    }
    if let failure { throw failure }
  }

  /// Carried through although the caller may be cancelled: a channel that opens too late must be closed again.
  private func openChannel() async throws(RabbitMQError) -> ChannelID {
    try await patiently(within: nil, for: "opening a channel") { () throws(RabbitMQError) in
      let channel = try await self.connection.openChannel(
        .plain(maximumBodySize: self.pace.maximumBodySize), listener: self)
      let isLate = self.state.withLock { state in
        if state.isAccepting { state.channel = channel }
        return !state.isAccepting
      }
      if isLate { await self.connection.closeChannel(channel) }
      return channel
    }
  }

  /// Starts no further handler, waits up to `grace` for those that run, acknowledges what they have finished, and closes the
  /// channel, which gives everything else back to the queue. Cancelling the caller ends the grace.
  /// - Returns: how many handlers still run, although they were cancelled.
  func stop(grace: Duration) async -> Int {
    let channel = close()
    let isIdle = await stillRunning.wait(timeout: grace, until: { $0 == 0 }) != nil
    if !isIdle {
      for task in state.withLock({ $0.workers + $0.takeovers.values }) { task.cancel() }
    }
    // On a task of its own: the caller's may be cancelled, and could not wait for anything.
    await Task {
      if !isIdle { _ = await stillRunning.wait(timeout: .seconds(1)) { $0 == 0 } }
      flush()
      if let channel {
        // Where order counts the channel is closed at once: the broker returns what arrives for a cancelled consumer before
        // what the channel holds, and so in front of it. What was handled may come again then, and in its order.
        if !keepsOrder { await cancelConsumer(on: channel) }
        await connection.closeChannel(channel)
      }
    }.value
    state.withLock { $0.channel = nil }
    return stillRunning.value
  }

  private var keepsOrder: Bool { pace.order != nil || pace.window == .inOrder }

  /// Ends the consumer, behind the last acknowledgements and before its channel.
  ///
  /// A busy quorum queue's client inside the broker holds acknowledgements back until earlier ones are through, and forgets
  /// them when the channel closes (rabbit_fifo_client, "slow"): what was handled would be delivered again. The queue itself
  /// answers basic.cancel, so they are through then. What it sends until then, up to the prefetch, goes back.
  func cancelConsumer(on channel: ChannelID) async {
    let slot = RequestSlot(timeout: .seconds(2))
    connection.submit(.request(channel, .cancel(tag: state.withLock { $0.tag }), slot))
    _ = try? await slot.reply(to: "ending a consumer")
  }

  /// After the broker has ended the reading: starts no further handler. Those that run go on, and what comes of them is told
  /// to the leftovers, because their deliveries cannot be acknowledged any more and come again.
  func abandon() async {
    let channel = close()
    // A consumer can end without its channel; then what has finished can still be acknowledged.
    flush()
    if let channel { await connection.closeChannel(channel) }
    state.withLock { $0.channel = nil }
  }

  private func close() -> ChannelID? {
    let (channel, idle, running, dropped) = state.withLock { state in
      state.isAccepting = false
      defer { state.idle = [] }
      let held = state.held.map { DeliveryEntry(message: $0) }
      state.held = []
      return (state.channel, state.idle, state.running, state.line.removeAll() + held)
    }
    arrivals?.continuation.finish()
    for worker in idle { worker.resume() }
    giveBack(dropped)
    stillRunning.update { $0 = min($0, running) }
    return channel
  }

  func giveBack(_ entries: [DeliveryEntry]) {
    for entry in entries { entry.parked?.completion(.leave) }
    returned.add(entries.filter { $0.parked == nil }.map(\.message))
  }

  /// Nobody has to wait for what it finds: its window is open, or it has ended.
  var hasPassedProbe: Bool { state.withLock { !$0.window.isProbing || !$0.isAccepting || $0.isLost } }
  /// Deliveries that are not settled.
  var openCount: Int { state.withLock { $0.tracker.openCount } }

  var isIdle: Bool { state.withLock { $0.running == 0 } }

  /// Handlers that run, and when the last one ended.
  var progress: (running: Int, last: ContinuousClock.Instant?) { state.withLock { ($0.running, $0.lastProgress) } }
}
