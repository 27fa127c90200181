/// Decides when a publishing channel is replaced because the broker accepts nothing on it.
///
/// A channel of RabbitMQ 3.10 that first publishes to a quorum queue while that elects a leader may refuse everything, or
/// answer nothing, for as long as the old leader's node is away; a new channel is served at once (seen in a cluster of three
/// whose leading node was killed while clients connected). What was not confirmed is written again on the new one.
///
/// Silence is only what lasts while somebody publishes all the time. Each further replacement waits twice as long, up to a
/// minute, because a broker that is merely slow gets everything again.
struct ConfirmSilence: Sendable {
  static let first = Duration.seconds(5)
  static let longest = Duration.seconds(60)

  private var since: ContinuousClock.Instant?
  private var last: ContinuousClock.Instant?
  private var limit = first

  /// Something is published. True when the channel is to be replaced.
  mutating func published(_ now: ContinuousClock.Instant) -> Bool {
    defer { last = now }
    guard let begin = since, let last, now - last < limit else {
      since = now
      return false
    }
    guard now - begin >= limit else { return false }
    since = now
    limit = min(limit * 2, Self.longest)
    return true
  }

  /// The broker has accepted something.
  mutating func confirmed() {
    since = nil
    limit = Self.first
  }

  /// There is no connection, or the broker takes nothing on it and says so: what was does not count.
  mutating func interrupted() { since = nil }
}
