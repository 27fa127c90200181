/// How long to wait before a queue is declared and read again.
///
/// What the broker refuses (AMQP 403, 404, 405, 406) needs somebody to change something: 1, 2, 4 … 30 s. What is on its way
/// (a queue without a leader, a consumer that was just cancelled) is tried again at once, then after 0.2, 0.4 … 3 s. A lost
/// connection is not the queue's matter: its own machine sets the pace.
struct EntityBackoff {
  /// A reading that lasts so long starts the count again.
  static let settled = Duration.seconds(5)
  private(set) var failures = 0

  mutating func delay(after error: RabbitMQError, consumedFor duration: Duration?) -> Duration {
    // Also when a lost connection ends it: a refusal after that is a first one.
    if let duration, duration >= Self.settled { failures = 0 }
    if error.isOfConnection { return .zero }
    defer { failures += 1 }
    if error.isRefusal { return .seconds(min(30, 1 << min(failures, 5))) }
    return failures == 0 ? .zero : min(.milliseconds(200 << min(failures - 1, 4)), .seconds(3))
  }
}

extension RabbitMQError {
  /// The connection has gone, with everything on it.
  var isOfConnection: Bool { code == .connectionLost || code == .connectionClosed }

  /// The broker answered, and said no to one entity.
  var isRefusal: Bool {
    switch code {
    case .accessRefused, .notFound, .resourceLocked, .topologyMismatch, .invalidConfiguration: true
    default: false
    }
  }
}
