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

  /// A connection that ends sooner counts as one more failed try, or a broker that takes logins and drops connections would
  /// be called at full speed.
  static var settled: Duration { .seconds(5) }

  private var hosts: [Host]
  /// Tries since a connection last stood.
  private(set) var attempts = 0
  private var refusals = 0
  private var openSince: Nanoseconds?

  /// Shuffled once, so that the clients of a cluster do not all connect to its first node.
  init(hosts: [Host], using random: inout some RandomNumberGenerator) {
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
    if let openSince, now >= openSince, now - openSince >= Self.settled.nanoseconds {
      (attempts, refusals) = (0, 0)
      return .milliseconds(Int64.random(in: 0...500, using: &random))
    }
    switch failure {
    case .unreachable:
      refusals = 0
      return .milliseconds(Int64.random(in: 500...3000, using: &random) / Int64(max(1, hosts.count)))
    case .refused:
      defer { refusals += 1 }
      return .seconds(min(30, 1 << min(refusals, 5)))
    }
  }
}
