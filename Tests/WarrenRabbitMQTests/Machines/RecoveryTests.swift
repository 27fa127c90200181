import Testing

@testable import WarrenRabbitMQ

struct RecoveryTests {
  private static let second: Nanoseconds = 1_000_000_000

  private func machine(_ hosts: [String], seed: UInt64 = 1) -> (Recovery<String>, ReplayableRandom) {
    var random = ReplayableRandom(fixed: seed)
    return (Recovery(hosts: hosts, using: &random), random)
  }

  @Test func theHostsAreShuffledAndTheOneThatFailedIsLastInTurn() {
    var orders: Set<[String]> = []
    for seed in 0..<200 as Range<UInt64> {
      var (recovery, random) = machine(["a", "b", "c"], seed: seed)
      var tried: [String] = []
      for _ in 0..<9 {
        tried.append(recovery.attempt() ?? "")
        _ = recovery.ended(.unreachable, now: 0, using: &random)
      }
      #expect(Set(tried[0..<3]).count == 3)
      #expect(tried[3...] == tried[..<6])
      orders.insert(Array(tried[0..<3]))
    }
    #expect(orders.count == 6)
  }

  /// However long a broker was away: every address is tried once within three seconds.
  @Test(arguments: [1, 3, 7]) func whatCannotBeReachedIsTriedWithinThreeSecondsWithoutEnd(count: Int) {
    var (recovery, random) = machine((0..<count).map { "\($0)" }, seed: 7)
    for _ in 0..<1000 {
      var round = Duration.zero
      for _ in 0..<count {
        _ = recovery.attempt()
        round += recovery.ended(.unreachable, now: 0, using: &random)
      }
      #expect(round <= .seconds(3))
      #expect(round >= .milliseconds(500 - count))
    }
    #expect(recovery.attempts == 1000 * count)
  }

  @Test func whatRefusesIsAskedMoreAndMoreSeldom() {
    var (recovery, random) = machine(["a", "b"])
    let delays = (0..<7).map { _ in
      _ = recovery.attempt()
      return recovery.ended(.refused, now: 0, using: &random)
    }
    #expect(delays == [1, 2, 4, 8, 16, 30, 30].map { .seconds($0) })
    // An answer that is none begins the count again: the broker that comes back may be another one.
    _ = recovery.ended(.unreachable, now: 0, using: &random)
    #expect(recovery.ended(.refused, now: 0, using: &random) == .seconds(1))
  }

  @Test func aConnectionThatStoodIsTriedAgainNearlyAtOnce() {
    for seed in 0..<100 as Range<UInt64> {
      var (recovery, random) = machine(["a"], seed: seed)
      for _ in 0..<5 { _ = recovery.ended(.refused, now: 0, using: &random) }
      _ = recovery.attempt()
      recovery.opened(now: 10 * Self.second)
      #expect(recovery.ended(.unreachable, now: 15 * Self.second, using: &random) <= .milliseconds(500))
      #expect(recovery.attempts == 0)
      #expect(recovery.ended(.refused, now: 20 * Self.second, using: &random) == .seconds(1))
    }
  }

  /// A broker that takes logins and drops connections is not called at full speed, nor is its count begun again.
  @Test func aConnectionThatFallsAtOnceIsAFailedTry() {
    var (recovery, random) = machine(["a"])
    for number in 1...50 {
      _ = recovery.attempt()
      recovery.opened(now: Self.second)
      let delay = recovery.ended(.unreachable, now: 2 * Self.second, using: &random)
      #expect(delay >= .milliseconds(500) && delay <= .seconds(3))
      #expect(recovery.attempts == number)
    }
  }

  @Test func theSameSeedGivesTheSameCourse() {
    func course() -> [Duration] {
      var (recovery, random) = machine(["a", "b", "c"], seed: 42)
      return (0..<100).map { _ in recovery.ended(.unreachable, now: 0, using: &random) }
    }
    #expect(course() == course())
  }

  @Test func withoutHostsThereIsNothingToTry() {
    var (recovery, random) = machine([])
    #expect(recovery.attempt() == nil)
    #expect(recovery.ended(.unreachable, now: 0, using: &random) <= .seconds(3))
  }
}

struct EntityBackoffTests {
  private let refused = RabbitMQError(.topologyMismatch, "other settings", replyCode: 406)
  private let cancelled = RabbitMQError(.consumerCancelled, "gone", isRetryable: true)

  /// A long reading that ends with its connection has settled as much as one that ends in another way.
  @Test func aLostConnectionDoesNotKeepTheCount() {
    var backoff = EntityBackoff()
    let (lost, refused) = (RabbitMQError(.connectionLost, ""), RabbitMQError(.accessRefused, ""))
    for _ in 0..<4 { _ = backoff.delay(after: refused, consumedFor: nil) }
    #expect(backoff.delay(after: lost, consumedFor: .seconds(60)) == .zero)
    #expect(backoff.delay(after: refused, consumedFor: nil) == .seconds(1))
    // A short one has not.
    #expect(backoff.delay(after: lost, consumedFor: .seconds(1)) == .zero)
    #expect(backoff.delay(after: refused, consumedFor: nil) == .seconds(2))
  }

  @Test func refusalsAreAskedMoreAndMoreSeldom() {
    var backoff = EntityBackoff()
    let delays = (0..<7).map { _ in backoff.delay(after: refused, consumedFor: nil) }
    #expect(delays == [1, 2, 4, 8, 16, 30, 30].map { .seconds($0) })
  }

  @Test func lossesAreMendedAtOnceThenWithinThreeSeconds() {
    var backoff = EntityBackoff()
    let delays = (0..<7).map { _ in backoff.delay(after: cancelled, consumedFor: nil) }
    #expect(delays == [0, 200, 400, 800, 1600, 3000, 3000].map { .milliseconds($0) })
  }

  @Test func aLostConnectionDoesNotCount() {
    var backoff = EntityBackoff()
    let lost = RabbitMQError(.connectionLost, "cut", isRetryable: true)
    for _ in 0..<5 { #expect(backoff.delay(after: lost, consumedFor: nil) == .zero) }
    #expect(backoff.failures == 0)
  }

  @Test func aReadingThatStoodBeginsTheCountAgain() {
    var backoff = EntityBackoff()
    for _ in 0..<5 { _ = backoff.delay(after: cancelled, consumedFor: .seconds(1)) }
    #expect(backoff.failures == 5)
    #expect(backoff.delay(after: cancelled, consumedFor: .seconds(5)) == .zero)
  }
}
