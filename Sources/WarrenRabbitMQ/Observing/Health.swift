/// How a ``RabbitMQ`` and its subscribers stand at the moment it was asked for: for the probes of a platform, for a status
/// page, for a test. Takes no request to the broker.
///
/// What it says is at most two heartbeats behind: a half-open connection is noticed then; a blocked broker, a deleted queue
/// and a lost connection at once.
public struct Health: Sendable, CustomStringConvertible {
  /// One word for all of it.
  public enum Status: String, Sendable, CaseIterable {
    /// Not connected yet, or not all queues are read yet. Not unhealthy: a broker may start after its services.
    case starting
    /// Both connections are open, the broker takes publishes, every queue is read or paused.
    case ready
    /// Something of that is missing; ``Health/reasons`` tells what. It is being recovered from.
    case degraded
    /// Closed or given up: nothing more will happen.
    case ended
  }

  /// The connection that publishes.
  public var publishing: ConnectionHealth
  /// The connection that consumes and declares.
  public var consuming: ConnectionHealth
  /// Every queue of every subscriber that runs.
  public var consumers: [ConsumerHealth]
  /// How long ago the broker last confirmed an event; nil before the first.
  public var sinceLastConfirm: Duration?

  /// One word for all of it.
  public var status: Status {
    if publishing.state == .ended || consuming.state == .ended { return .ended }
    if reasons.isEmpty { return .ready }
    let isStarting =
      publishing.connections == 0 || consuming.connections == 0 || consumers.contains { $0.state == .starting }
    return isStarting ? .starting : .degraded
  }
  /// False when only a new start of the process can help: `run()` has ended.
  public var isLive: Bool { status != .ended }
  /// True when events can be published and every queue is read: where a load balancer should send requests.
  public var isReady: Bool { status == .ready }
  /// Queues that are to be read. A paused one is not.
  public var expectedConsumers: Int { consumers.count { $0.state != .paused } }
  /// Queues that are being read.
  public var liveConsumers: Int { consumers.count { $0.state == .consuming } }

  /// What is missing, in words; empty when all is well.
  public var reasons: [String] {
    var reasons = [publishing, consuming].compactMap(\.reason)
    reasons += consumers.compactMap(\.reason)
    return reasons
  }

  /// The text for messages and logs.
  public var description: String { ([status.rawValue] + reasons).joined(separator: "; ") }
}

/// How one connection stands.
public struct ConnectionHealth: Sendable {
  /// Where a connection is in its life.
  public enum State: String, Sendable, CaseIterable {
    /// `run()` was not called.
    case idle
    /// A try is under way.
    case connecting
    /// Connected and logged in.
    case open
    /// Between two tries.
    case waiting
    /// Closed, or given up.
    case ended
  }
  /// `…/publish` or `…/consume`, as the broker lists it.
  public var name: String
  /// Where it is in its life.
  public var state: State
  /// How long it has been there.
  public var since: Duration
  /// The address, while it is open: `host:port`.
  public var address: String?
  /// Why the broker takes no publishes, while it says so: `low on memory`, `low on disk`.
  public var blockedReason: String?
  /// How long the broker has said so.
  public var blockedSince: Duration?
  /// How often it has been open.
  public var connections: Int
  /// Tries since it was last open.
  public var attempts: Int
  /// Why the last try failed or the last connection ended.
  public var lastFailure: RabbitMQError?

  var reason: String? {
    switch state {
    case .open: return blockedReason.map { "\(name): the broker takes no publishes: \($0)" }
    case .idle: return "\(name): run() is not running"
    case .connecting, .waiting, .ended:
      let failure = lastFailure.map { ": \($0.message)" } ?? ""
      return "\(name): not connected after \(attempts) \(attempts == 1 ? "try" : "tries")\(failure)"
    }
  }
}

/// How the reading of one queue stands.
public struct ConsumerHealth: Sendable {
  /// Where a reading is in its life.
  public enum State: String, Sendable, CaseIterable {
    /// Not read yet.
    case starting
    /// The broker has accepted the consumer.
    case consuming
    /// Lost, and on its way back.
    case recovering
    /// The broker refuses something about this queue; it is tried again every 1 to 30 s.
    case refused
    /// Handlers that run are waited for, before a pause or the end.
    case stopping
    /// By ``Subscriber/pause()``; or by itself, because order cannot be kept otherwise: ``ConsumerHealth/lastFailure`` says
    /// so then.
    case paused
    /// Stopped.
    case ended
  }
  /// The queue.
  public var queue: String
  /// Where the reading is in its life.
  public var state: State
  /// How long it has been there.
  public var since: Duration
  /// Handlers that run now.
  public var runningHandlers: Int
  /// How long ago a handler last ended; nil when none has since the reading began.
  public var sinceLastProgress: Duration?
  /// Tries since it was last read.
  public var attempts: Int
  /// Why it was lost or refused; nil while it is read.
  public var lastFailure: RabbitMQError?

  var reason: String? {
    switch state {
    case .consuming, .stopping: return nil
    case .paused where lastFailure?.code != .orderBlocked: return nil
    case .paused: return lastFailure?.message
    case .starting, .recovering, .refused, .ended:
      return "\(queue): \(state.rawValue)\(lastFailure.map { ": \($0.message)" } ?? "")"
    }
  }
}

extension BrokerConnection {
  var health: ConnectionHealth {
    let status = status.value
    let now = ContinuousClock.now
    var address: String?
    let state: ConnectionHealth.State
    switch status.phase {
    case .idle: state = .idle
    case .connecting: state = .connecting
    case .open(let info):
      state = .open
      address = "\(info.host):\(info.port)"
    case .waiting: state = .waiting
    case .ended: state = .ended
    }
    return ConnectionHealth(
      name: name, state: state, since: now - status.since, address: address, blockedReason: status.blockedReason,
      blockedSince: status.blockedSince.map { now - $0 }, connections: status.epoch, attempts: status.attempts,
      lastFailure: status.lastFailure)
  }
}

extension ConsumerState {
  var health: ConsumerHealth {
    let now = ContinuousClock.now
    let state: ConsumerHealth.State =
      switch phase {
      case .starting: .starting
      case .consuming: .consuming
      case .recovering: .recovering
      case .refused: .refused
      case .stopping: .stopping
      case .paused: .paused
      case .ended: .ended
      }
    let progress = reader?.progress
    return ConsumerHealth(
      queue: queue, state: state, since: now - since, runningHandlers: progress?.running ?? 0,
      sinceLastProgress: progress.flatMap { $0.last.map { now - $0 } }, attempts: attempts, lastFailure: lastFailure)
  }
}

extension RabbitMQ {
  /// How the connections and every running subscriber stand.
  public var health: Health {
    Health(
      publishing: publishing.health, consuming: consuming.health, consumers: consumers,
      sinceLastConfirm: events.lastConfirm.map { .now - $0 })
  }
}
