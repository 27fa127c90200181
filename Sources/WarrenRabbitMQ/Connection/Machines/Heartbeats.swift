/// Both directions of AMQP's heartbeat (0-9-1 §4.2.7): we send when nothing else was written for half an interval, and
/// give the peer up when nothing came for two.
struct Heartbeats {
  enum Action: Equatable { case none, send, peerIsDead }

  let interval: Nanoseconds
  private var lastSent: Nanoseconds
  private var lastReceived: Nanoseconds

  init(interval: Nanoseconds, now: Nanoseconds) {
    self.interval = interval
    lastSent = now
    lastReceived = now
  }

  mutating func sent(_ now: Nanoseconds) { lastSent = now }
  mutating func received(_ now: Nanoseconds) { lastReceived = now }

  func action(_ now: Nanoseconds) -> Action {
    if now >= lastReceived + 2 * interval { return .peerIsDead }
    if now >= lastSent + interval / 2 { return .send }
    return .none
  }

  /// When `action` will next ask for something.
  var nextAction: Nanoseconds { min(lastReceived + 2 * interval, lastSent + interval / 2) }
}
