package import Warren
import WarrenSupport

/// A channel in confirm mode on the publishing connection, opened when it is first used and shared by all that publish.
package final class PublishingChannel: Sendable {
  private let connection: BrokerConnection
  private let configuration: RabbitMQConfiguration

  private enum Phase {
    case closed
    case opening(Task<ChannelID, any Error>)
    case open(ChannelID)
  }
  private let phase = Lock(Phase.closed)
  private let pending = Watched(0)

  init(connection: BrokerConnection, configuration: RabbitMQConfiguration) {
    self.connection = connection
    self.configuration = configuration
  }

  /// The channel, when it is open already: the usual case, without a suspension.
  private var openChannel: ChannelID? { phase.withLock { if case .open(let id) = $0 { id } else { nil } } }

  /// The channel, opened if need be. Waits no longer than `timeout`, whoever else waits for the same.
  private func ready(within timeout: Duration) async throws(RabbitMQError) -> ChannelID {
    if let id = openChannel { return id }
    let start = ContinuousClock.now
    try await connection.whenOpen(timeout: timeout)
    let rest = timeout - (ContinuousClock.now - start)
    return try await patiently(within: rest, for: "opening the publishing channel") { () throws(RabbitMQError) in
      try await self.ready()
    }
  }

  private func ready() async throws(RabbitMQError) -> ChannelID {
    if let id = openChannel { return id }
    let task = phase.withLock { phase -> Task<ChannelID, any Error> in
      switch phase {
      case .open(let id): return Task { id }
      case .opening(let task): return task
      case .closed:
        let task = Task { try await self.open() }
        phase = .opening(task)
        return task
      }
    }
    do {
      return try await task.value
    } catch let error as RabbitMQError {
      throw error
    } catch {
      throw RabbitMQError(.cancelled, "opening the publishing channel was cancelled", isRetryable: true)
    }
  }

  private func open() async throws -> ChannelID {
    do {
      try await connection.whenOpen(timeout: configuration.publishing.timeout)
      let id = try await connection.openChannel(
        .publishing(window: configuration.publishing.window, bytes: configuration.publishing.windowBytes),
        listener: ClosedListener(channel: self))
      phase.withLock { $0 = .open(id) }
      return id
    } catch {
      phase.withLock { $0 = .closed }
      throw error
    }
  }

  private final class ClosedListener: ChannelListener {
    private let channel: PublishingChannel
    init(channel: PublishingChannel) { self.channel = channel }
    func received(_ messages: [IncomingMessage]) {}
    func consumerCancelled(tag: String) {}
    func channelClosed(_ error: RabbitMQError) { channel.phase.withLock { $0 = .closed } }
  }

  package var window: Int { configuration.publishing.window }
  var timeout: Duration { configuration.publishing.timeout }

  /// Publishes one message and waits for its outcome. Its deadline counts from `start`, or from now.
  package func publish(_ request: PublishRequest, since start: ContinuousClock.Instant? = nil) async -> PublishOutcome {
    let timeout = configuration.publishing.timeout
    let start = start ?? .now
    let channel: ChannelID
    if let open = openChannel {
      channel = open
    } else {
      do throws(RabbitMQError) {
        channel = try await ready(within: timeout - (.now - start))
      } catch {
        return .notPublished(error.message)
      }
    }
    let operation = PublishOperation(request, timeout: timeout, spent: .now - start, completion: .awaited)
    connection.submit(.publish(channel, [operation]))
    return await operation.outcome()
  }

  /// Publishes messages of a batch; their outcomes go there. Waits for the channel no longer than `patience`; false when
  /// there was none by then.
  package func submit(
    _ requests: [(index: Int, request: PublishRequest)], to batch: PublishBatch, patience: Duration
  ) async -> Bool {
    let channel: ChannelID
    if let open = openChannel {
      channel = open
    } else {
      do throws(RabbitMQError) {
        channel = try await ready(within: patience)
      } catch {
        for (index, _) in requests { batch.settled(index, .notPublished(error.message)) }
        return false
      }
    }
    let operations = requests.map { index, request in
      (
        index,
        PublishOperation(
          request, timeout: configuration.publishing.timeout, completion: .batch(batch, index: index))
      )
    }
    batch.track(operations)
    connection.submit(.publish(channel, operations.map(\.1)))
    return true
  }

  /// How long an event of a batch may wait before it is handed over. When one has waited in vain for a connection, those
  /// behind it do not wait again: one after the other, their deadlines would add up to hours.
  func patience(hasWaitedInVain: Bool) -> Duration {
    hasWaitedInVain && !connection.isOpen ? .zero : configuration.publishing.timeout
  }

  func count(_ change: Int) { pending.update { $0 += change } }

  /// Returns when no call of a publisher is under way.
  package func whenIdle(timeout: Duration) async {
    _ = await pending.wait(timeout: timeout) { $0 == 0 }
  }
}
