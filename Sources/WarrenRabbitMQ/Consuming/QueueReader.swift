import DequeModule
import Logging
import Warren
import WarrenSupport

/// Reads one queue on a channel of its own: takes deliveries as the broker sends them, gives each to a handler, as many at
/// once as the concurrency allows, and acknowledges after the handler. From one start to one stop.
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
  private let onEnd: @Sendable (RabbitMQError) -> Void

  private struct State {
    var channel: ChannelID?
    var waiting = Deque<IncomingMessage>()
    var idle: [CheckedContinuation<IncomingMessage?, Never>] = []
    var tracker = AckTracker()
    var isAccepting = true
    var workers: [Task<Void, Never>] = []
    var timer: TimerEntry?
  }
  private let state = Lock(State())
  private let running = Watched(0)

  /// `onEnd` hears when the broker has ended the reading; not after a stop.
  init(
    queue: String, connection: BrokerConnection, prefetch: Int, concurrency: Int, maximumBodySize: Int,
    process: @escaping Process, onEnd: @escaping @Sendable (RabbitMQError) -> Void
  ) {
    self.queue = queue
    self.connection = connection
    self.prefetch = prefetch
    self.concurrency = concurrency
    self.maximumBodySize = maximumBodySize
    self.process = process
    self.onEnd = onEnd
  }

  /// Returns when the broker has accepted the consumer.
  func start() async throws(RabbitMQError) {
    let channel = try await connection.openChannel(.plain(maximumBodySize: maximumBodySize), listener: self)
    state.withLock { state in
      state.channel = channel
      state.workers = (0..<concurrency).map { _ in Task { await self.work() } }
    }
    // The limit must be set before the consumer that it is for (RabbitMQ, "Consumer Prefetch").
    try await connection.request(.setPrefetch(prefetch), on: channel)
    try await connection.request(.consume(queue: queue, tag: tag), on: channel)
  }

  /// Starts no further handler, waits up to `grace` for those that run, acknowledges what they have finished, and closes the
  /// channel, which gives everything else back to the queue.
  /// - Returns: how many handlers still run, although they were cancelled.
  func stop(grace: Duration) async -> Int {
    let (channel, idle, workers) = state.withLock { state in
      state.isAccepting = false
      state.waiting.removeAll()
      defer { state.idle = [] }
      return (state.channel, state.idle, state.workers)
    }
    for worker in idle { worker.resume(returning: nil) }
    if let channel {
      // Not waited for: closing the channel ends the consumer as well. It keeps the broker from sending more meanwhile.
      connection.submit(.request(channel, .cancel(tag: tag), RequestSlot(timeout: .seconds(2))))
    }
    if await running.wait(timeout: grace, until: { $0 == 0 }) == nil {
      for worker in workers { worker.cancel() }
      _ = await running.wait(timeout: .seconds(1)) { $0 == 0 }
    }
    flush()
    if let channel { await connection.closeChannel(channel) }
    let timer = state.withLock { state in
      state.channel = nil
      defer { state.timer = nil }
      return state.timer
    }
    timer?.cancel()
    return running.value
  }

  // MARK: Handlers

  private func work() async {
    while let message = await next() {
      let settlement = await process(message)
      settle(message.deliveryTag, settlement)
      running.update { $0 -= 1 }
    }
  }

  /// The next delivery; nil when no more are to be started. Counts it as running before the lock is released, so that a stop
  /// cannot miss it.
  private func next() async -> IncomingMessage? {
    if let message = state.withLock({ takeWaiting(&$0) }) { return message }
    return await withCheckedContinuation { continuation in
      let early = state.withLock { state -> IncomingMessage?? in
        if let message = takeWaiting(&state) { return .some(message) }
        guard state.isAccepting else { return .some(nil) }
        state.idle.append(continuation)
        return nil
      }
      if let early { continuation.resume(returning: early) }
    }
  }

  private func takeWaiting(_ state: inout State) -> IncomingMessage? {
    guard state.isAccepting, let message = state.waiting.popFirst() else { return nil }
    running.update { $0 += 1 }
    return message
  }

  private func settle(_ deliveryTag: UInt64, _ settlement: Settlement) {
    let isDue = state.withLock { state -> Bool in
      switch settlement {
      case .leave: return false
      case .reject:
        if state.tracker.settle(deliveryTag), let channel = state.channel {
          connection.submit(.acknowledge(channel, [.reject(deliveryTag, requeue: false)]))
        }
        return false
      case .acknowledge:
        guard state.tracker.finish(deliveryTag) else { return false }
        if state.tracker.openCount == 0 || state.tracker.finishedCount >= max(1, prefetch / 10) { return true }
        if state.timer == nil {
          state.timer = Timers.shared.schedule(after: .milliseconds(20)) { [weak self] in self?.flush() }
        }
        return false
      }
    }
    if isDue { flush() }
  }

  /// Inside the lock up to the mailbox, which keeps the acknowledgements in order and never blocks.
  private func flush() {
    let timer = state.withLock { state -> TimerEntry? in
      let acknowledgements = state.tracker.flush()
      if let channel = state.channel, !acknowledgements.isEmpty {
        connection.submit(.acknowledge(channel, acknowledgements))
      }
      defer { state.timer = nil }
      return state.timer
    }
    timer?.cancel()
  }

  // MARK: What the engine says

  func received(_ messages: [IncomingMessage]) {
    let woken = state.withLock { state -> [(CheckedContinuation<IncomingMessage?, Never>, IncomingMessage)] in
      for _ in messages { state.tracker.received() }
      guard state.isAccepting else { return [] }
      state.waiting.append(contentsOf: messages)
      var woken: [(CheckedContinuation<IncomingMessage?, Never>, IncomingMessage)] = []
      while !state.idle.isEmpty, let message = takeWaiting(&state) { woken.append((state.idle.removeLast(), message)) }
      return woken
    }
    for (worker, message) in woken { worker.resume(returning: message) }
  }

  func consumerCancelled(tag: String) {
    end(
      RabbitMQError(
        .consumerCancelled,
        "the broker has ended the consumer of \"\(queue)\": the queue was deleted, or its node went down",
        isRetryable: true))
  }

  func channelClosed(_ error: RabbitMQError) { end(error) }

  private func end(_ error: RabbitMQError) {
    let wasAccepting = state.withLock { state in
      // What waits is back in the queue already, or gone with it.
      state.waiting.removeAll()
      return state.isAccepting
    }
    if wasAccepting { onEnd(error) }
  }
}
