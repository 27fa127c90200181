import DequeModule
import Warren
import WarrenSupport

/// Looks through a queue from its head, without taking anything out that is not acknowledged here. For one task.
///
/// AMQP has no way to look: messages are consumed, and go back when their channel closes. A quorum queue puts them behind others
/// that went back before, so the order stays only when all of the queue is held before the first one goes back. That is what
/// ``close()`` does. When the process is killed the broker gives back what was held by itself, and letters may change places.
final class DeadLetterScan {
  struct Letter {
    var message: IncomingMessage
    fileprivate var page: DeadLetterPage
  }
  enum Step {
    case letter(Letter)
    /// Nothing comes before what is under way is settled.
    case settle
    case end
  }

  /// How long nothing may come although the broker says that there is more.
  private static let patience = Duration.seconds(30)
  private let queue: String
  private let connection: BrokerConnection
  private let topology: Topology
  private let bodyLimit: Int
  private var plan: DeadLetterPages
  private var pages: [DeadLetterPage] = []
  /// How many were in the queue at first.
  let depth: Int

  /// - Parameter bodyLimit: longer bodies are not kept; with 0 none.
  /// - Throws: ``RabbitMQError``, with ``RabbitMQError/Code/notFound`` when there is no such queue.
  init(_ queue: String, of rabbit: RabbitMQ, bodyLimit: Int, firstPage: Int) async throws(RabbitMQError) {
    self.queue = queue
    self.bodyLimit = bodyLimit
    connection = rabbit.consuming
    topology = rabbit.topology
    depth = try await Self.steadyDepth(of: queue, topology)
    plan = DeadLetterPages(expected: depth, first: firstPage)
    if depth > 0 { try await openPage(plan.size, bodyLimit) }
  }

  private static func ready(in queue: String, _ topology: Topology) async throws(RabbitMQError) -> Int {
    let reply = try await topology.perform(
      .declareQueue(queue, passive: true, durable: true, exclusive: false, autoDelete: false, arguments: [:]))
    guard case .queue(_, let messages, _) = reply else { return 0 }
    return messages
  }

  /// What somebody's look held until just now is counted a moment after its end: a command that follows a killed one must not
  /// say that there are none. The count when it has not changed for a tenth of a second, or after a second.
  private static func steadyDepth(of queue: String, _ topology: Topology) async throws(RabbitMQError) -> Int {
    var depth = try await ready(in: queue, topology)
    for _ in 0..<10 {
      try? await Task.sleep(for: .milliseconds(100))
      let next = try await ready(in: queue, topology)
      if next == depth { break }
      depth = next
    }
    return depth
  }

  private func openPage(_ size: Int, _ bodyLimit: Int) async throws(RabbitMQError) {
    let page = DeadLetterPage()
    let channel = try await connection.openChannel(.plain(maximumBodySize: bodyLimit), listener: page)
    page.channel = channel
    pages.append(page)
    try await connection.request(.setPrefetch(size), on: channel)
    try await connection.request(.consume(queue: queue, tag: page.tag), on: channel)
  }

  // MARK: Reading

  /// - Throws: ``RabbitMQError`` when the broker ends the reading, or sends nothing although there is more.
  func next() async throws(RabbitMQError) -> Step {
    var silentSince: ContinuousClock.Instant?
    while let page = pages.last {
      let seen = page.arrivals.value
      if !plan.isComplete, let message = page.pop() {
        plan.take(bytes: message.body.count)
        return .letter(Letter(message: message, page: page))
      }
      if let failure = page.failure { throw failure }
      switch plan.next() {
      case .end: return .end
      case .settle: return .settle
      // The page before has what it may have, and none of it will be acknowledged: it is sent nothing more.
      case .turn(let size): try await openPage(size, bodyLimit)
      case .wait:
        if await page.arrivals.wait(timeout: .milliseconds(250), until: { $0 != seen }) != nil {
          silentSince = nil
          continue
        }
        if Task.isCancelled { throw RabbitMQError(.cancelled, "the task was cancelled", isRetryable: true) }
        if plan.isUnderWay { return .settle }
        // Somebody else may have taken the rest, or holds it just now.
        let ready = try await Self.ready(in: queue, topology)
        if ready == 0, page.arrivals.value == seen { return .end }
        let start = silentSince ?? .now
        silentSince = start
        if ContinuousClock.now - start > Self.patience {
          throw RabbitMQError(
            .timedOut, "the broker counts \(ready) messages in \"\(queue)\" and has sent none for \(Self.patience)",
            isRetryable: true)
        }
      }
    }
    return .end
  }

  /// Out of the queue. To be called when it is safe elsewhere.
  func acknowledge(_ letter: Letter) {
    plan.acknowledge()
    letter.page.acknowledged += 1
    connection.submit(.acknowledge(letter.page.channel, [.ack(letter.message.deliveryTag, multiple: false)]))
  }

  /// Stays in the queue.
  func leave(_ letter: Letter) { plan.leave() }

  // MARK: Giving back

  /// Gives back what was not acknowledged, in its order, and returns when it is in the queue again.
  func close() async {
    guard let last = pages.last else { return }
    // The queue itself answers, so that the acknowledgements before it are through: see QueueReader.
    _ = try? await connection.request(.cancel(tag: last.tag), on: last.channel)
    await holdTheRest()
    var ready = try? await Self.ready(in: queue, topology)
    for page in pages {
      await connection.closeChannel(page.channel)
      // One after the other, or a later page might be back before an earlier one.
      ready = ready.map { $0 + page.kept }
      if let ready { await wait(forReady: ready) }
    }
    pages = []
  }

  /// When not all was looked at: the rest, without bodies.
  private func holdTheRest() async {
    var missing = depth - pages.reduce(0) { $0 + $1.received }
    while missing > 0, pages.allSatisfy({ $0.failure == nil }) {
      guard (try? await openPage(DeadLetterPages.largest, 0)) != nil, let page = pages.last else { return }
      let due = min(missing, DeadLetterPages.largest)
      while page.received < due, page.failure == nil {
        let seen = page.arrivals.value
        if page.received >= due { break }
        // Nothing for a while: somebody else has the others.
        if await page.arrivals.wait(timeout: .seconds(1), until: { $0 != seen }) == nil { break }
      }
      page.forget()
      _ = try? await connection.request(.cancel(tag: page.tag), on: page.channel)
      if page.received < due { return }
      missing -= page.received
    }
  }

  /// Two seconds at the most: somebody may take some meanwhile.
  private func wait(forReady count: Int) async {
    let end = ContinuousClock.now + .seconds(2)
    while ContinuousClock.now < end, !Task.isCancelled {
      guard let ready = try? await Self.ready(in: queue, topology), ready < count else { return }
      try? await Task.sleep(for: .milliseconds(5))
    }
  }
}

/// One consumer of a scan, with what it was sent.
private final class DeadLetterPage: ChannelListener {
  let tag = "warren-look-\(EventID())"
  /// Counts up with everything that happens.
  let arrivals = Watched(0)
  private struct State {
    var channel = ChannelID(0)
    var waiting = Deque<IncomingMessage>()
    var received = 0
    var acknowledged = 0
    var failure: RabbitMQError?
  }
  private let state = Lock(State())

  var channel: ChannelID {
    get { state.withLock { $0.channel } }
    set { state.withLock { $0.channel = newValue } }
  }
  var acknowledged: Int {
    get { state.withLock { $0.acknowledged } }
    set { state.withLock { $0.acknowledged = newValue } }
  }
  /// What goes back to the queue with the channel.
  var kept: Int { state.withLock { $0.received - $0.acknowledged } }
  var received: Int { state.withLock { $0.received } }
  var failure: RabbitMQError? { state.withLock { $0.failure } }

  func pop() -> IncomingMessage? { state.withLock { $0.waiting.popFirst() } }
  func forget() { state.withLock { $0.waiting = [] } }

  func received(_ messages: [IncomingMessage]) {
    state.withLock { state in
      state.waiting.append(contentsOf: messages)
      state.received += messages.count
    }
    arrivals.update { $0 += 1 }
  }

  func consumerCancelled(tag: String) {
    end(RabbitMQError(.consumerCancelled, "the queue was deleted, or its node went down", isRetryable: true))
  }

  func channelClosed(_ error: RabbitMQError) { end(error) }

  private func end(_ error: RabbitMQError) {
    state.withLock { $0.failure = $0.failure ?? error }
    arrivals.update { $0 += 1 }
  }
}
