import Warren
import WarrenSupport

/// One of the two connections of a ``RabbitMQ``: what the engine says about it, and its channels.
package final class BrokerConnection: ConnectionListener {
  package enum Phase: Sendable {
    case idle
    case connecting
    case open(ConnectionInfo)
    case ended(RabbitMQError?)
  }
  package struct Status: Sendable {
    package var phase = Phase.idle
    package var blockedReason: String?
  }
  package typealias MakeEngine =
    @Sendable (RabbitMQConfiguration, _ name: String, any ConnectionListener) -> any ConnectionEngine

  package let status = Watched(Status())
  private let configuration: RabbitMQConfiguration
  private let name: String
  private let makeEngine: MakeEngine

  private struct State {
    var engine: (any ConnectionEngine)?
    var lastChannel: UInt32 = 0
  }
  private let state = Lock(State())

  package init(configuration: RabbitMQConfiguration, name: String, makeEngine: @escaping MakeEngine) {
    self.configuration = configuration
    self.name = name
    self.makeEngine = makeEngine
  }

  package var isOpen: Bool { if case .open = status.value.phase { true } else { false } }

  package func start() {
    let engine = makeEngine(configuration, name, self)
    state.withLock { $0.engine = engine }
    status.update { $0.phase = .connecting }
    engine.start()
  }

  /// Returns when the connection is open; throws what ended it, or that it did not open in time.
  @discardableResult
  package func whenOpen(timeout: Duration) async throws(RabbitMQError) -> ConnectionInfo {
    if case .open(let info) = status.value.phase { return info }
    let status = await status.wait(timeout: timeout) {
      switch $0.phase {
      case .open, .ended: true
      case .idle, .connecting: false
      }
    }
    switch status?.phase {
    case .open(let info): return info
    case .ended(let error):
      throw error ?? RabbitMQError(.connectionClosed, "the connection to the broker is closed", isRetryable: true)
    default:
      if Task.isCancelled {
        throw RabbitMQError(.cancelled, "the task was cancelled while it waited for the connection", isRetryable: true)
      }
      if case .idle = self.status.value.phase {
        throw RabbitMQError(
          .connectionClosed,
          "not connected after \(timeout): run() of this RabbitMQ is not running. Add it to the ServiceGroup, or use withRabbitMQ",
          isRetryable: true)
      }
      throw RabbitMQError(.timedOut, "the connection to the broker did not open within \(timeout)", isRetryable: true)
    }
  }

  package func submit(_ command: EngineCommand) {
    if let engine = state.withLock({ $0.engine }) { return engine.submit(command) }
    let error = RabbitMQError(.connectionClosed, "not connected yet", isRetryable: true)
    switch command {
    case .open(_, _, let listener, let slot):
      slot.settle(.failure(error))
      listener.channelClosed(error)
    case .request(_, _, let slot), .closeChannel(_, let slot): slot.settle(.failure(error))
    case .publish(_, let operations): for operation in operations { operation.abandon(because: error.message) }
    case .acknowledge, .close: break
    }
  }

  package func openChannel(
    _ kind: ChannelKind, listener: any ChannelListener = SilentListener()
  ) async throws(RabbitMQError) -> ChannelID {
    let id = state.withLock { state in
      state.lastChannel += 1
      return ChannelID(state.lastChannel)
    }
    let slot = RequestSlot(timeout: configuration.requestTimeout)
    submit(.open(id, kind, listener, slot))
    _ = try await slot.reply(to: "opening a channel")
    return id
  }

  @discardableResult
  package func request(_ request: Request, on channel: ChannelID) async throws(RabbitMQError) -> Reply {
    let slot = RequestSlot(timeout: configuration.requestTimeout)
    submit(.request(channel, request, slot))
    return try await slot.reply(to: "\(request)")
  }

  package func closeChannel(_ channel: ChannelID) async {
    let slot = RequestSlot(timeout: .seconds(2))
    submit(.closeChannel(channel, slot))
    _ = try? await slot.reply(to: "closing a channel")
  }

  /// Says goodbye and waits for the end, two seconds at the most.
  package func close(because reason: RabbitMQError? = nil) async {
    if case .idle = status.value.phase { return }
    submit(.close(because: reason))
    _ = await status.wait(timeout: .seconds(2)) { if case .ended = $0.phase { true } else { false } }
  }

  // MARK: What the engine says

  package func connectionOpened(_ info: ConnectionInfo) { status.update { $0.phase = .open(info) } }
  package func connectionBlocked(_ reason: String?) { status.update { $0.blockedReason = reason } }
  package func connectionEnded(_ error: RabbitMQError?) {
    state.withLock { $0.engine = nil }
    status.update { $0 = Status(phase: .ended(error)) }
  }
}
