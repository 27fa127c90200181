/// What a subscriber's queues are asked for and how each of them stands.
struct ConsumingSignals: Sendable {
  enum Wanted: Sendable { case run, pause, stop }

  var wanted = Wanted.run
  /// Counts what asks for going on.
  var resumptions = 0
  var hasStarted = false
  var hasEnded = false
  /// What has ended all.
  var failure: RabbitMQError?
  var consumers: [ConsumerState] = []

  var areConsuming: Bool { !consumers.isEmpty && consumers.allSatisfy { $0.phase == .consuming } }
  var arePaused: Bool { !consumers.isEmpty && consumers.allSatisfy { $0.phase == .paused } }
  /// What the broker refuses of one of them.
  var refusal: RabbitMQError? {
    consumers.lazy.compactMap { $0.phase == .refused ? $0.lastFailure : nil }.first
  }
}

/// How one queue stands.
struct ConsumerState: Sendable {
  enum Phase: Sendable { case starting, consuming, recovering, refused, stopping, paused, ended }

  let queue: String
  var phase = Phase.starting
  var since = ContinuousClock.now
  /// Why it was lost or refused last; nil while it consumes.
  var lastFailure: RabbitMQError?
  var attempts = 0
  var reader: QueueReader?

  init(queue: String) { self.queue = queue }
}
