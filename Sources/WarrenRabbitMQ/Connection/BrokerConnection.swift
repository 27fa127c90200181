import Logging
import Warren
import WarrenSupport

/// One of the two connections of a ``RabbitMQ``: connects, connects again after any loss, and knows how it stands.
///
/// An engine lives for one connection. What was pending on it has ended, or is back with its channel, before the next one
/// begins; channel ids are never used twice, so what comes late for an old connection finds nothing.
package final class BrokerConnection: Sendable {
  package enum Phase: Sendable {
    /// `start()` was not called yet.
    case idle
    case connecting
    case open(ConnectionInfo)
    /// Not connected; a timer starts the next try.
    case waiting
    /// Closed from our side, or given up by ``RabbitMQConfiguration/Startup/failFast``. For good.
    case ended(RabbitMQError?)
  }
  package struct Status: Sendable {
    package var phase = Phase.idle
    package var blockedReason: String?
    package var blockedSince: ContinuousClock.Instant?
    /// How many connections have been open.
    package var epoch = 0
    /// Tries since a connection last stood.
    package var attempts = 0
    /// Why the last try failed or the last connection ended.
    package var lastFailure: RabbitMQError?
    /// When the phase was entered.
    package var since = ContinuousClock.now
    package var isOpen: Bool { if case .open = phase { true } else { false } }
  }
  package typealias MakeEngine =
    @Sendable (RabbitMQConfiguration.Host, RabbitMQConfiguration, _ name: String, any ConnectionListener) ->
    any ConnectionEngine

  package let status = Watched(Status())
  package let name: String
  private let configuration: RabbitMQConfiguration
  private let logger: Logger
  private let clock: EngineClock
  private let makeEngine: MakeEngine

  private struct State {
    var recovery: Recovery<RabbitMQConfiguration.Host>
    var engine: (any ConnectionEngine)?
    var retry: TimerEntry?
    var isClosing = false
    var hasBeenOpen = false
    var lastChannel: UInt32 = 0
    var random: any RandomNumberGenerator & Sendable
  }
  private let state: Lock<State>

  init(
    configuration: RabbitMQConfiguration, name: String, logger: Logger, clock: EngineClock = .system,
    random: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator(), makeEngine: @escaping MakeEngine
  ) {
    self.configuration = configuration
    self.name = name
    self.logger = logger
    self.clock = clock
    self.makeEngine = makeEngine
    var random = random
    let recovery = Recovery(hosts: configuration.hosts, pace: configuration.recoveryPace, using: &random)
    state = Lock(State(recovery: recovery, random: random))
  }

  package var isOpen: Bool { status.value.isOpen }

  // MARK: Connecting

  package func start() {
    if case .idle = status.value.phase { connect() }
  }

  private func connect() {
    let next = state.withLock { state -> (any ConnectionEngine, Int)? in
      state.retry = nil
      guard !state.isClosing, state.engine == nil, let host = state.recovery.attempt() else { return nil }
      let engine = makeEngine(host, configuration, name, self)
      state.engine = engine
      return (engine, state.recovery.attempts)
    }
    guard let (engine, attempts) = next else { return }
    enter(.connecting) { $0.attempts = attempts }
    engine.start()
  }

  private func enter(_ phase: Phase, _ change: (inout Status) -> Void = { _ in }) {
    status.update { status in
      status.phase = phase
      status.since = .now
      status.blockedReason = nil
      status.blockedSince = nil
      change(&status)
    }
  }

  /// Returns when the connection is open.
  /// - Throws: what the last try failed with when it does not open in time, and what ended it when it never will.
  @discardableResult
  package func whenOpen(timeout: Duration) async throws(RabbitMQError) -> ConnectionInfo {
    if case .open(let info) = status.value.phase { return info }
    let reached = await status.wait(timeout: timeout) {
      switch $0.phase {
      case .open, .ended: true
      case .idle, .connecting, .waiting: false
      }
    }
    switch reached?.phase {
    case .open(let info): return info
    case .ended(let error):
      throw error ?? RabbitMQError(.connectionClosed, "the connection to the broker is closed", isRetryable: true)
    default:
      if Task.isCancelled {
        throw RabbitMQError(.cancelled, "the task was cancelled while it waited for the connection", isRetryable: true)
      }
      throw notOpen("within \(timeout)")
    }
  }

  /// Why there is no connection.
  package func notOpen(_ when: String) -> RabbitMQError {
    let status = status.value
    if case .idle = status.phase {
      return RabbitMQError(
        .connectionClosed,
        "not connected \(when): run() of this RabbitMQ is not running. Add it to the ServiceGroup, or use withRabbitMQ",
        isRetryable: true)
    }
    guard let failure = status.lastFailure else {
      return RabbitMQError(.timedOut, "the connection to the broker did not open \(when)", isRetryable: true)
    }
    return RabbitMQError(
      failure.code, "not connected \(when): \(failure.message)", isRetryable: true, replyCode: failure.replyCode)
  }

  /// Says goodbye and waits for the end, two seconds at the most. What is pending ends with the reason, where there is one.
  package func close(because reason: RabbitMQError? = nil) async {
    let (engine, retry) = state.withLock { state in
      state.isClosing = true
      defer { state.retry = nil }
      return (state.engine, state.retry)
    }
    retry?.cancel()
    if let engine, engine.submit(.close(because: reason)) {
      _ = await status.wait(timeout: .seconds(2)) { if case .ended = $0.phase { true } else { false } }
    } else if engine == nil {
      if case .ended = status.value.phase { return }
      enter(.ended(reason))
    }
  }

  // MARK: Channels and requests

  /// False when there is no connection: the command's slot is settled then, and publishes are still the caller's.
  @discardableResult
  package func submit(_ command: EngineCommand) -> Bool {
    if let engine = state.withLock({ $0.engine }) { return engine.submit(command) }
    command.refuse()
    return false
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

  /// Says in the log what is done about this connection.
  func note(_ text: String) { logger.info("\(text)", metadata: ["connection": "\(name)"]) }

  package func closeChannel(_ channel: ChannelID) async {
    let slot = RequestSlot(timeout: .seconds(2))
    submit(.closeChannel(channel, slot))
    _ = try? await slot.reply(to: "closing a channel")
  }
}

// MARK: What the engine says

extension BrokerConnection: ConnectionListener {
  package func connectionOpened(_ info: ConnectionInfo) {
    state.withLock { state in
      state.recovery.opened(now: clock.now())
      state.hasBeenOpen = true
    }
    let isReturn = status.value.epoch > 0
    enter(.open(info)) { status in
      status.epoch += 1
      status.attempts = 0
    }
    logger.log(
      level: isReturn ? .info : .debug, isReturn ? "connected again" : "connected",
      metadata: [
        "connection": "\(name)", "host": "\(info.host):\(info.port)", "broker": "\(info.serverVersion)",
      ])
  }

  package func connectionBlocked(_ reason: String?) {
    status.update { status in
      status.blockedReason = reason
      status.blockedSince = reason == nil ? nil : .now
    }
    logger.info(
      reason == nil ? "the broker takes publishes again" : "the broker takes no publishes",
      metadata: ["connection": "\(name)", "reason": "\(reason ?? "")"])
  }

  package func connectionEnded(_ reason: RabbitMQError?) {
    var error = reason
    if let reason, case .open(let info) = status.value.phase {
      error = RabbitMQError(
        reason.code, "\(info.host):\(info.port): \(reason.message)", isRetryable: reason.isRetryable,
        replyCode: reason.replyCode)
    }
    let delay = state.withLock { [error] state -> Duration? in
      state.engine = nil
      guard let error, !state.isClosing, !isTooEarly(error, state) else { return nil }
      return state.recovery.ended(error.recoveryKind, now: clock.now(), using: &state.random)
    }
    guard let delay, let error else { return enter(.ended(error)) { $0.lastFailure = error ?? $0.lastFailure } }
    enter(.waiting) { $0.lastFailure = error }
    // What answered and refused needs somebody to change something.
    logger.log(
      level: error.recoveryKind == .refused ? .error : .info, "not connected: trying again",
      metadata: ["connection": "\(name)", "error": "\(error)", "in": "\(delay)"])
    let timer = Timers.shared.schedule(after: delay) { [weak self] in self?.connect() }
    let isLate = state.withLock { state in
      state.retry = timer
      return state.isClosing
    }
    if isLate {
      timer.cancel()
      enter(.ended(nil))
    }
  }

  /// With a start that fails fast: the first connection could not be made, at any address.
  private func isTooEarly(_ error: RabbitMQError, _ state: State) -> Bool {
    guard configuration.startup == .failFast, !state.hasBeenOpen else { return false }
    return error.recoveryKind == .refused || state.recovery.attempts >= configuration.hosts.count
  }
}

extension RabbitMQError {
  /// Whether the broker answered and refused, which it will do again, or could not be reached or is on its way.
  var recoveryKind: Recovery<RabbitMQConfiguration.Host>.Failure {
    // A virtual host that is just starting or recovering answers as if it were refused.
    if code == .vhostRefused, message.contains("is down") { return .unreachable }
    return isRetryable ? .unreachable : .refused
  }
}
