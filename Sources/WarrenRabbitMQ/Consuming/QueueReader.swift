import DequeModule
import Logging
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
  private let leftovers: Leftovers
  private let returned: ReturnedDeliveries
  /// Its number among the readers of the same queue.
  private let number: Int
  private let onHold: @Sendable (RabbitMQError?) -> Void
  private let onEnd: @Sendable (End) -> Void

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
  private let stillRunning = Watched(Int.max)
  /// With an order: arrivals on their way into the line, because finding a key may take a while.
  private let arrivals: (stream: AsyncStream<[DeliveryEntry]>, continuation: AsyncStream<[DeliveryEntry]>.Continuation)?

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

  private func giveBack(_ entries: [DeliveryEntry]) {
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

  // MARK: Handlers

  func work(_ worker: Int) async {
    // Handlers of a lost channel still count.
    await leftovers.waitForRoom(worker: worker, of: pace.concurrency)
    while let (entry, run) = await next(worker) {
      let settlement: Settlement
      if let known = await leftovers.settlement(of: entry.message, to: number) {
        settlement = known
      } else {
        let stages = DeliveryStages(
          reader: self, worker: worker, run: run, key: entry.parked?.key ?? entry.key,
          isCrashLoop: entry.isCrashLoop, isParked: entry.parked != nil)
        settlement = await process(entry.message, stages)
      }
      // Somebody else has taken this worker's place.
      guard settle(entry, settlement, worker, run) else { return }
    }
  }

  /// The next delivery; nil when no more are to be started. Counts it as running before the lock is released, so that a stop
  /// cannot miss it.
  private func next(_ worker: Int) async -> (DeliveryEntry, UInt64)? {
    var wasWoken = false
    while true {
      let (step, woken) = state.withLock { state -> (Step, CheckedContinuation<Void, Never>?) in
        if wasWoken { state.isWaking = false }
        guard state.isAccepting else { return (.end, nil) }
        guard state.mayBegin, let entry = state.line.next() else { return (.wait, nil) }
        state.running += 1
        state.lastRun += 1
        state.current[worker] = Worker(run: state.lastRun, entry: entry)
        return (.handle(entry, state.lastRun), workerToWake(&state))
      }
      woken?.resume()
      switch step {
      case .handle(let entry, let run): return (entry, run)
      case .end: return nil
      case .wait: break
      }
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          if !state.isAccepting || state.mayBegin && !state.line.isEmpty { return true }
          state.idle.append(continuation)
          return false
        }
        wasWoken = !isDue
        if isDue { continuation.resume() }
      }
    }
  }

  private enum Step {
    case handle(DeliveryEntry, UInt64)
    case wait
    case end
  }

  func workerToWake(_ state: inout State) -> CheckedContinuation<Void, Never>? {
    guard !state.isWaking, state.mayBegin, !state.line.isEmpty, let worker = state.idle.popLast() else {
      return nil
    }
    state.isWaking = true
    return worker
  }

  /// - Parameter worker: who was at it; nil for an overdue run, which nobody is at.
  /// - Returns: false when the worker was given up meanwhile, and what it says is for the one who did.
  @discardableResult
  func settle(_ entry: DeliveryEntry, _ settlement: Settlement, _ worker: Int?, _ run: UInt64) -> Bool {
    let deliveryTag = entry.message.deliveryTag
    let isFromStore = entry.parked != nil
    let (isGivenUp, overdue, isLost, left, next) = state.withLock { state -> (Bool, OverdueRun?, Bool, Int?, Next) in
      if let worker {
        guard state.current[worker].run == run else { return (true, state.overdue[run], false, nil, .nothing) }
        state.current[worker] = Worker()
      } else {
        state.overdue[run] = nil
        state.takeovers[run] = nil
      }
      state.running -= 1
      state.lastProgress = .now
      if !state.isLost, !isFromStore { settle(deliveryTag, settlement, &state) }
      state.line.finished(key: entry.key)
      return (false, nil, state.isLost, state.isAccepting ? nil : state.running, whatIsNext(&state))
    }
    guard !isGivenUp else {
      overdue?.returned.update { $0 = settlement }
      return false
    }
    entry.parked?.completion(settlement)
    if isLost, !isFromStore { leftovers.ended(deliveryTag, of: number, settlement) }
    if let left { stillRunning.update { $0 = min($0, left) } }
    go(on: next)
    return true
  }

  /// What follows from a change of what waits and what runs.
  private enum Next {
    case nothing
    case wake(CheckedContinuation<Void, Never>)
    case open
    case over
  }

  private func whatIsNext(_ state: inout State) -> Next {
    guard state.isAccepting, !state.isLost else { return .nothing }
    if state.window.isClosing, state.running == 0, state.line.isEmpty {
      guard state.window.mayHandle(held: state.held.count) else { return .over }
      for message in state.held { state.line.append(DeliveryEntry(message: message)) }
      state.held = []
    }
    if state.isOpeningDue {
      state.isOpeningDue = false
      state.isOpening = true
      return .open
    }
    return workerToWake(&state).map(Next.wake) ?? .nothing
  }

  private func go(on next: Next) {
    switch next {
    case .nothing: break
    case .wake(let worker): worker.resume()
    case .open: Task { await self.openWindow() }
    case .over: onEnd(.suspicious)
    }
  }

  private func settle(_ deliveryTag: UInt64, _ settlement: Settlement, _ state: inout State) {
    switch settlement {
    case .leave, .parkAgain: break
    case .reject:
      if state.tracker.settle(deliveryTag) { tell([.reject(deliveryTag, requeue: false)], &state) }
    case .acknowledge:
      guard state.tracker.finish(deliveryTag) else { return }
      state.sinceHead += 1
      // Told when the window is open.
      if state.isOpeningDue || state.isOpening { return }
      if state.tracker.finishedCount >= max(1, pace.prefetch / 4) {
        // Behind a slow handler; the broker would soon have nothing more that it may send.
        tell(state.tracker.flush(), &state)
      } else if state.sinceHead >= max(1, pace.prefetch / 10) {
        state.sinceHead = 0
        if let head = state.tracker.flushHead() { tell([head], &state) }
      }
      guard state.tracker.finishedCount > 0 else { return }
      // One at a time: the broker waits for it.
      if state.window.isProbing { return tell(state.tracker.flush(), &state) }
      if !state.isTimed {
        state.isTimed = true
        _ = Timers.shared.schedule(after: .milliseconds(20)) { [weak self] in self?.flush() }
      }
    }
  }

  func flush() {
    state.withLock { state in
      state.isTimed = false
      tell(state.tracker.flush(), &state)
    }
  }

  /// Inside the lock up to the mailbox, which keeps the acknowledgements in order and never blocks.
  private func tell(_ acknowledgements: [Acknowledgement], _ state: inout State) {
    if let channel = state.channel, !acknowledgements.isEmpty {
      connection.submit(.acknowledge(channel, acknowledgements))
    }
  }

  // MARK: What the engine says

  func received(_ messages: [IncomingMessage]) {
    let returns = messages.map { $0.isRedelivered ? returned.foreignReturns(of: $0) : 0 }
    var left: [IncomingMessage] = []
    var isStopping = false
    let (unsorted, next, woken) = state.withLock {
      state -> ([DeliveryEntry], Next, CheckedContinuation<Void, Never>?) in
      var entries: [DeliveryEntry] = []
      let wasClosing = state.window.isClosing
      for (message, returns) in zip(messages, returns) {
        state.tracker.received()
        // A consumer that was cancelled may have been sent more before.
        guard state.isAccepting, !state.isLost else {
          left.append(message)
          continue
        }
        switch state.window.received(returns: returns) {
        case .handle: entries.append(DeliveryEntry(message: message))
        case .handleAndOpen:
          entries.append(DeliveryEntry(message: message))
          state.isOpeningDue = true
        case .bury: entries.append(DeliveryEntry(message: message, isCrashLoop: true))
        case .hold: state.held.append(message)
        }
      }
      // Keys are found elsewhere: that is the user's code.
      if arrivals == nil { for entry in entries { state.line.append(entry) } }
      isStopping = !wasClosing && state.window.isClosing
      // A worker is woken in any case, beside what follows.
      let woken = workerToWake(&state)
      return (arrivals == nil ? [] : entries, whatIsNext(&state), woken)
    }
    returned.add(left)
    if !unsorted.isEmpty { arrivals?.continuation.yield(unsorted) }
    woken?.resume()
    if isStopping { Task { await self.stopFlow() } }
    go(on: next)
  }

  private func sort(_ entries: [DeliveryEntry]) {
    var entries = entries
    for index in entries.indices { entries[index].key = pace.order?(entries[index].message) }
    let woken = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.isAccepting, !state.isLost else { return nil }
      for entry in entries { state.line.append(entry) }
      return workerToWake(&state)
    }
    woken?.resume()
  }

  /// A delivery from a store: handled as if it had come over the channel. Returns what came of it.
  func handle(parked message: IncomingMessage, key: String?) async -> Settlement {
    await withCheckedContinuation { continuation in
      let parked = DeliveryEntry.Parked(key: key) { continuation.resume(returning: $0) }
      let entry = DeliveryEntry(message: message, parked: parked)
      let (isTaken, woken) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
        guard state.isAccepting, !state.isLost else { return (false, nil) }
        state.line.append(entry)
        return (true, workerToWake(&state))
      }
      woken?.resume()
      if !isTaken { continuation.resume(returning: .leave) }
    }
  }

  func consumerCancelled(tag: String) {
    end(
      RabbitMQError(
        .consumerCancelled,
        "the broker has ended the consumer of \"\(queue)\": the queue was deleted, or its node went down",
        isRetryable: true))
  }

  func channelClosed(_ error: RabbitMQError) { end(error) }

  /// A failure of the start is thrown there and not told a second time.
  func end(_ error: RabbitMQError) {
    let (isNews, dropped, runs) = state.withLock { state -> (Bool, [DeliveryEntry], [IncomingMessage]) in
      // What waits is back in the queue already, or gone with it.
      let dropped = state.line.removeAll()
      guard state.isAccepting, !state.isLost else { return (false, dropped, []) }
      state.failure = state.failure ?? error
      state.isLost = true
      // Inside the lock, or one that ends just now would be told as ended before it was told as begun. It resumes nobody.
      let entries = state.current.compactMap(\.entry) + state.overdue.values.map(\.entry)
      let runs = entries.filter { $0.parked == nil }.map(\.message)
      leftovers.began(runs, of: number)
      return (state.isStarted, dropped, runs)
    }
    returned.add(runs)
    giveBack(dropped)
    if isNews { onEnd(.lost(error)) }
  }

  /// Order cannot be kept otherwise: nothing more is begun, and the stop that follows returns everything.
  func giveUpOrder() {
    let idle = state.withLock { state in
      state.isAccepting = false
      defer { state.idle = [] }
      return state.idle
    }
    for worker in idle { worker.resume() }
    onEnd(.orderBlocked)
  }

  func tellHold(_ error: RabbitMQError?) { onHold(error) }
}

extension IncomingMessage {
  /// How often it has come back to its queue, as far as the broker counts that.
  var returns: Int {
    guard isRedelivered else { return 0 }
    let count = (try? MessageProperties(reading: properties))?.headers["x-delivery-count"]?.int
    return Int(clamping: count ?? 0)
  }
}
