import Testing

@testable import WarrenRabbitMQ

@Suite struct HeartbeatsTests {
  @Test func sendsAfterHalfAnIntervalAndGivesUpAfterTwo() {
    var heart = Heartbeats(interval: 1000, now: 5000)
    #expect(heart.nextAction == 5500)
    #expect(heart.action(5499) == .none)
    #expect(heart.action(5500) == .send)
    heart.sent(5500)
    #expect(heart.action(5999) == .none)
    #expect(heart.action(6000) == .send)
    heart.sent(6900)
    #expect(heart.nextAction == 7000)
    #expect(heart.action(6999) == .none)
    #expect(heart.action(7000) == .peerIsDead)
    heart.received(6999)
    #expect(heart.action(7000) == .none)
  }

  @Test func aDeadPeerCountsMoreThanAHeartbeatThatIsDue() {
    let heart = Heartbeats(interval: 1000, now: 0)
    #expect(heart.action(1999) == .send)
    #expect(heart.action(2000) == .peerIsDead)
  }

  @Test func theNextActionIsTheFirstMomentThatAsksForSomething() async {
    var random = ReplayableRandom()
    for _ in 0..<2000 {
      await Task.yield()
      var now = UInt64(random.int(0...1_000_000))
      let interval = UInt64(random.int(1...10_000))
      var heart = Heartbeats(interval: interval, now: now)
      var (lastSent, lastReceived) = (now, now)
      for _ in 0..<20 {
        now += UInt64(random.int(0...Int(interval)))
        let expected: Heartbeats.Action =
          now - lastReceived >= 2 * interval ? .peerIsDead : now - lastSent >= interval / 2 ? .send : .none
        #expect(heart.action(now) == expected, random.replay)
        #expect((heart.nextAction <= now) == (expected != .none), random.replay)
        #expect(heart.action(heart.nextAction) != .none, random.replay)
        if heart.nextAction > now { #expect(heart.action(heart.nextAction - 1) == .none, random.replay) }
        if random.oneIn(2) {
          heart.sent(now)
          lastSent = now
        }
        if random.oneIn(2) {
          heart.received(now)
          lastReceived = now
        }
      }
    }
  }
}
