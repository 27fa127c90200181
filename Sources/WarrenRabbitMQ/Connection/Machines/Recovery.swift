/// How fast lost connections are tried again; tests hurry.
package struct RecoveryPace: Hashable, Sendable {
  /// After the loss of a connection that stood, in milliseconds.
  package var afterLoss: ClosedRange<Int64> = 0...500
  /// Between two tries of the same address that cannot be reached, in milliseconds.
  package var unreachable: ClosedRange<Int64> = 500...3000
  /// A connection that ends sooner counts as one more failed try, or a broker that takes logins and drops connections would
  /// be called at full speed.
  package var settled = Duration.seconds(5)
}

/// Decides where and when to connect next. Time and randomness come from outside, so every course of events can be replayed.
///
/// What fails below AMQP (nobody listens, silence, an open connection that breaks, a broker that shuts down) is tried again
/// without end, every address once within 0.5 to 3 s, so that a broker that is back is found within seconds however long
/// it was away. What answered and refused (a login, a certificate) says the same the next time: 1, 2, 4 … 30 s.
struct Recovery<Host: Equatable> {
  enum Failure: Equatable {
    case unreachable
    case refused
  }

  private let pace: RecoveryPace
  private var hosts: [Host]
  /// Tries since a connection last stood.
  private(set) var attempts = 0
  private var refusals = 0
  private var openSince: Nanoseconds?

  /// Shuffled once, so that the clients of a cluster do not all connect to its first node.
  init(hosts: [Host], pace: RecoveryPace = RecoveryPace(), using random: inout some RandomNumberGenerator) {
    self.pace = pace
    self.hosts = hosts.shuffled(using: &random)
  }

  /// Where to connect now.
  mutating func attempt() -> Host? {
    attempts += 1
    return hosts.first
  }

  mutating func opened(now: Nanoseconds) { openSince = now }

  /// The try or the connection has ended. Returns how long to wait before the next one; the host that failed is the last in
  /// turn now.
  mutating func ended(
    _ failure: Failure, now: Nanoseconds, using random: inout some RandomNumberGenerator
  ) -> Duration {
    defer { openSince = nil }
    if !hosts.isEmpty { hosts.append(hosts.removeFirst()) }
    if let openSince, now >= openSince, now - openSince >= pace.settled.nanoseconds {
      (attempts, refusals) = (0, 0)
      return .milliseconds(Int64.random(in: pace.afterLoss, using: &random))
    }
    switch failure {
    case .unreachable:
      refusals = 0
      return .milliseconds(Int64.random(in: pace.unreachable, using: &random) / Int64(max(1, hosts.count)))
    case .refused:
      defer { refusals += 1 }
      return .seconds(min(30, 1 << min(refusals, 5)))
    }
  }
}
