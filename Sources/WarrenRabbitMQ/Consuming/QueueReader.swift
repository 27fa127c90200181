import DequeModule
import Logging
import Warren
import WarrenSupport

/// Reads one queue on a channel of its own: takes deliveries as the broker sends them, gives each to a handler, as many at
/// once as the concurrency allows, and acknowledges after the handler. From one start to one stop, or to the loss of its
/// channel.
final class QueueReader: ChannelListener {
  /// What is to be done with a delivery after its processing.
  enum Settlement: Sendable {
    case acknowledge
    /// The broker moves it to the dead letters by itself.
    case reject
    /// Neither: it goes back to the queue when the channel closes.
    case leave
  }
  typealias Process = @Sendable (IncomingMessage) async -> Settlement

  let queue: String
  private let connection: BrokerConnection
  private let prefetch: Int
  private let concurrency: Int
  private let maximumBodySize: Int
  private let tag = "warren-\(EventID())"
  private let process: Process
  private let leftovers: Leftovers
  /// Its number among the readers of the same queue.
  private let number: Int
  private let onEnd: @Sendable (RabbitMQError) -> Void

  private struct State {
    var channel: ChannelID?
    var waiting = Deque<IncomingMessage>()
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
    var current: [IncomingMessage?] = []
    var running = 0
    /// The channel is gone: what still runs is told to the leftovers.
    var isLost = false
    var lastProgress: ContinuousClock.Instant?
    /// Finished since the head was last acknowledged.
    var sinceHead = 0
    /// A flush is coming, for what is not acknowledged by number.
    var isTimed = false
  }
  private let state = Lock(State())
  /// Zero once no handler runs any more; only looked at when no more are started.
  private let stillRunning = Watched(Int.max)

  /// `onEnd` hears when the broker has ended the reading; not after a stop.
  init(
    queue: String, connection: BrokerConnection, prefetch: Int, concurrency: Int, maximumBodySize: Int,
    leftovers: Leftovers = Leftovers(), process: @escaping Process, onEnd: @escaping @Sendable (RabbitMQError) -> Void
  ) {
    self.queue = queue
    self.connection = connection
    self.prefetch = prefetch
    self.concurrency = concurrency
    self.maximumBodySize = maximumBodySize
    self.leftovers = leftovers
    number = leftovers.newReader()
    self.process = process
    self.onEnd = onEnd
  }

  /// Returns when the broker has accepted the consumer.
  func start() async throws(RabbitMQError) {
    let channel = try await openChannel()
    state.withLock { state in
      state.current = Array(repeating: nil, count: concurrency)
      state.workers = (0..<concurrency).map { number in Task { await self.work(number) } }
    }
    // The limit must be set before the consumer that it is for (RabbitMQ, "Consumer Prefetch").
    try await connection.request(.setPrefetch(prefetch), on: channel)
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
        .plain(maximumBodySize: self.maximumBodySize), listener: self)
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
    let (channel, workers) = close()
    let isIdle = await stillRunning.wait(timeout: grace, until: { $0 == 0 }) != nil
    if !isIdle { for worker in workers { worker.cancel() } }
    // On a task of its own: the caller's may be cancelled, and could not wait for anything.
    await Task {
      if !isIdle { _ = await stillRunning.wait(timeout: .seconds(1)) { $0 == 0 } }
      flush()
      if let channel {
        await cancelConsumer(on: channel)
        await connection.closeChannel(channel)
      }
    }.value
    state.withLock { $0.channel = nil }
    return stillRunning.value
  }

  /// Ends the consumer, behind the last acknowledgements and before its channel.
  ///
  /// A busy quorum queue's client inside the broker holds acknowledgements back until earlier ones are through, and forgets
  /// them when the channel closes (rabbit_fifo_client, "slow"): what was handled would be delivered again. The queue itself
  /// answers basic.cancel, so they are through then. What it sends until then, up to the prefetch, goes back.
  private func cancelConsumer(on channel: ChannelID) async {
    let slot = RequestSlot(timeout: .seconds(2))
    connection.submit(.request(channel, .cancel(tag: tag), slot))
    _ = try? await slot.reply(to: "ending a consumer")
  }

  /// After the broker has ended the reading: starts no further handler. Those that run go on, and what comes of them is told
  /// to the leftovers, because their deliveries cannot be acknowledged any more and come again.
  func abandon() async {
    let (channel, _) = close()
    // A consumer can end without its channel; then what has finished can still be acknowledged.
    flush()
    if let channel { await connection.closeChannel(channel) }
    state.withLock { $0.channel = nil }
  }

  private func close() -> (ChannelID?, [Task<Void, Never>]) {
    let (channel, idle, workers, running) = state.withLock { state in
      state.isAccepting = false
      state.waiting.removeAll()
      defer { state.idle = [] }
      return (state.channel, state.idle, state.workers, state.running)
    }
    for worker in idle { worker.resume() }
    stillRunning.update { $0 = min($0, running) }
    return (channel, workers)
  }

  var isIdle: Bool { state.withLock { $0.running == 0 } }

  /// Handlers that run, and when the last one ended.
  var progress: (running: Int, last: ContinuousClock.Instant?) { state.withLock { ($0.running, $0.lastProgress) } }

  // MARK: Handlers

  private func work(_ worker: Int) async {
    // Handlers of a lost channel still count.
    await leftovers.waitForRoom(worker: worker, of: concurrency)
    while let message = await next(worker) {
      if let settlement = await leftovers.settlement(of: message, to: number) {
        settle(message, settlement, worker)
      } else {
        settle(message, await process(message), worker)
      }
    }
  }

  /// The next delivery; nil when no more are to be started. Counts it as running before the lock is released, so that a stop
  /// cannot miss it.
  private func next(_ number: Int) async -> IncomingMessage? {
    var wasWoken = false
    while true {
      let (step, woken) = state.withLock { state -> (Step, CheckedContinuation<Void, Never>?) in
        if wasWoken { state.isWaking = false }
        guard state.isAccepting else { return (.end, nil) }
        guard let message = state.waiting.popFirst() else { return (.wait, nil) }
        state.running += 1
        state.current[number] = message
        return (.handle(message), workerToWake(&state))
      }
      woken?.resume()
      switch step {
      case .handle(let message): return message
      case .end: return nil
      case .wait: break
      }
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          if !state.isAccepting || !state.waiting.isEmpty { return true }
          state.idle.append(continuation)
          return false
        }
        wasWoken = !isDue
        if isDue { continuation.resume() }
      }
    }
  }

  private enum Step {
    case handle(IncomingMessage)
    case wait
    case end
  }

  private func workerToWake(_ state: inout State) -> CheckedContinuation<Void, Never>? {
    guard !state.isWaking, !state.waiting.isEmpty, let worker = state.idle.popLast() else { return nil }
    state.isWaking = true
    return worker
  }

  private func settle(_ message: IncomingMessage, _ settlement: Settlement, _ worker: Int) {
    let deliveryTag = message.deliveryTag
    let (isLost, left) = state.withLock { state -> (Bool, Int?) in
      state.running -= 1
      state.current[worker] = nil
      state.lastProgress = .now
      if !state.isLost { settle(deliveryTag, settlement, &state) }
      return (state.isLost, state.isAccepting ? nil : state.running)
    }
    if isLost { leftovers.ended(deliveryTag, of: number, settlement) }
    if let left { stillRunning.update { $0 = min($0, left) } }
  }

  private func settle(_ deliveryTag: UInt64, _ settlement: Settlement, _ state: inout State) {
    switch settlement {
    case .leave: break
    case .reject:
      if state.tracker.settle(deliveryTag) { tell([.reject(deliveryTag, requeue: false)], &state) }
    case .acknowledge:
      guard state.tracker.finish(deliveryTag) else { return }
      state.sinceHead += 1
      if state.tracker.finishedCount >= max(1, prefetch / 4) {
        // Behind a slow handler; the broker would soon have nothing more that it may send.
        tell(state.tracker.flush(), &state)
      } else if state.sinceHead >= max(1, prefetch / 10) {
        state.sinceHead = 0
        if let head = state.tracker.flushHead() { tell([head], &state) }
      }
      if state.tracker.finishedCount > 0, !state.isTimed {
        state.isTimed = true
        _ = Timers.shared.schedule(after: .milliseconds(20)) { [weak self] in self?.flush() }
      }
    }
  }

  private func flush() {
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
    let woken = state.withLock { state -> CheckedContinuation<Void, Never>? in
      for _ in messages { state.tracker.received() }
      // A consumer that was cancelled may have been sent more before.
      guard state.isAccepting, !state.isLost else { return nil }
      state.waiting.append(contentsOf: messages)
      return workerToWake(&state)
    }
    woken?.resume()
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
  private func end(_ error: RabbitMQError) {
    let isNews = state.withLock { state in
      // What waits is back in the queue already, or gone with it.
      state.waiting.removeAll()
      guard state.isAccepting, !state.isLost else { return false }
      state.failure = state.failure ?? error
      state.isLost = true
      // Inside the lock, or one that ends just now would be told as ended before it was told as begun. It resumes nobody.
      leftovers.began(state.current.compactMap { $0 }, of: number)
      return state.isStarted
    }
    if isNews { onEnd(error) }
  }
}
