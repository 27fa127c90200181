import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

@Suite(.timeLimit(.minutes(1))) struct TimersTests {
  /// How often a timer has fired, and when first.
  private final class Probe: Sendable {
    let deadline: Nanoseconds
    private let fired = Lock<(count: Int, first: Nanoseconds)>((0, 0))
    init(after delay: Duration) { deadline = EngineClock.system.now() + delay.nanoseconds }

    func fire() {
      let now = EngineClock.system.now()
      fired.withLock { $0 = ($0.count + 1, $0.count == 0 ? now : $0.first) }
    }
    var count: Int { fired.withLock { $0.count } }
    var lateness: Int64 { fired.withLock { Int64(bitPattern: $0.first &- deadline) } }
  }

  /// Returns when a timer that was started after all others, and is due after them, has fired: the timer thread is past them.
  private func passed(_ delay: Duration) async throws {
    let isPast = Watched(false)
    let timer = Timers.shared.schedule(after: delay) { isPast.update { $0 = true } }
    try #require(await isPast.wait(timeout: .seconds(30)) { $0 } != nil)
    timer.cancel()
  }

  @Test func eachOfManyFiresOnceAndNotBeforeItsDeadline() async throws {
    var random = ReplayableRandom()
    let count = 3000
    let fired = Watched(0)
    let probes = (0..<count).map { _ in
      // Some are due at once, many at the same time.
      let delay = Duration.microseconds(random.oneIn(10) ? 0 : random.int(0...300_000))
      let probe = Probe(after: delay)
      _ = Timers.shared.schedule(after: delay) {
        probe.fire()
        fired.update { $0 += 1 }
      }
      return probe
    }
    #expect(await fired.wait(timeout: .seconds(30)) { $0 >= count } != nil, random.replay)
    try await passed(.milliseconds(20))
    #expect(probes.allSatisfy { $0.count == 1 }, random.replay)
    #expect(probes.allSatisfy { $0.lateness >= 0 }, random.replay)
  }

  @Test func whatIsCancelledBeforeItsDeadlineDoesNotFireAndItsNeighboursDo() async throws {
    var random = ReplayableRandom()
    var kept: [Probe] = []
    var cancelled: [Probe] = []
    for _ in 0..<40 {
      var timers: [(TimerEntry, Probe)] = (0..<50).map { _ in
        let delay = Duration.milliseconds(random.int(100...140))
        let probe = Probe(after: delay)
        return (Timers.shared.schedule(after: delay) { probe.fire() }, probe)
      }
      timers.shuffle(using: &random)
      for (timer, probe) in timers.prefix(25) {
        timer.cancel()
        // A second time is nothing.
        if random.oneIn(3) { timer.cancel() }
        if EngineClock.system.now() < probe.deadline { cancelled.append(probe) }
      }
      kept += timers.dropFirst(25).map(\.1)
    }
    #expect(cancelled.count > 100, "the machine is too slow for this test")
    try await passed(.milliseconds(160))
    #expect(cancelled.allSatisfy { $0.count == 0 }, random.replay)
    #expect(kept.allSatisfy { $0.count == 1 }, random.replay)
  }

  @Test func cancellingWhileItFiresIsOneOrNone() async throws {
    var random = ReplayableRandom()
    let probes = await withTaskGroup(of: Probe.self) { group in
      for _ in 0..<400 {
        let delay = Duration.microseconds(random.int(1000...20_000))
        // Somewhat before its deadline to somewhat after it.
        let cancellation = delay.nanoseconds - 100_000 + Nanoseconds(random.int(0...3_000_000))
        group.addTask {
          let start = EngineClock.system.now()
          let probe = Probe(after: delay)
          let timer = Timers.shared.schedule(after: delay) { probe.fire() }
          while EngineClock.system.now() < start + cancellation { await Task.yield() }
          timer.cancel()
          return probe
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    try await passed(.milliseconds(30))
    #expect(probes.count == 400)
    #expect(probes.allSatisfy { $0.count <= 1 }, random.replay)
  }

  @Test func cancellingAfterItHasFiredIsNothing() async throws {
    let probe = Probe(after: .zero)
    let timer = Timers.shared.schedule(after: .zero) { probe.fire() }
    try await passed(.milliseconds(10))
    #expect(probe.count == 1)
    timer.cancel()
    try await passed(.milliseconds(10))
    #expect(probe.count == 1)
  }

  @Test func farDeadlinesNeitherFireNorHoldUpNearOnes() async throws {
    // One turn of the wheel is 40.96 s: these share their buckets with what is due now.
    let turn = Duration.milliseconds(40_960)
    let far: [Duration] = [
      turn, turn + .milliseconds(5), turn + .milliseconds(50), turn * 2 + .milliseconds(20), turn * 1000,
      .seconds(86_400), .seconds(Int64.max), .seconds(9_000_000_000),
    ]
    let timers = far.map { delay in
      let probe = Probe(after: delay)
      return (timer: Timers.shared.schedule(after: delay) { probe.fire() }, probe: probe)
    }
    for _ in 0..<3 {
      let near = Probe(after: .milliseconds(30))
      _ = Timers.shared.schedule(after: .milliseconds(30)) { near.fire() }
      try await passed(.milliseconds(60))
      #expect(near.count == 1)
    }
    for (timer, _) in timers { timer.cancel() }
    #expect(timers.allSatisfy { $0.probe.count == 0 })
  }

  @Test func aNegativeDelayIsDueAtOnce() async throws {
    let probe = Probe(after: .zero)
    _ = Timers.shared.schedule(after: .seconds(-5)) { probe.fire() }
    try await passed(.milliseconds(10))
    #expect(probe.count == 1)
  }

  @Test func aTimerMayStartTheNextOne() async throws {
    let fired = Watched(0)
    @Sendable func again(_ rest: Int) {
      fired.update { $0 += 1 }
      if rest > 0 { _ = Timers.shared.schedule(after: .milliseconds(1)) { again(rest - 1) } }
    }
    again(20)
    #expect(await fired.wait(timeout: .seconds(30)) { $0 == 21 } == 21)
  }

  @Test func aNearerDeadlineWakesTheThreadThatSleepsTowardsAFarOne() async throws {
    let far = Timers.shared.schedule(after: .seconds(3600)) {}
    let near = Probe(after: .milliseconds(5))
    let isPast = Watched(false)
    _ = Timers.shared.schedule(after: .milliseconds(5)) {
      near.fire()
      isPast.update { $0 = true }
    }
    #expect(await isPast.wait(timeout: .seconds(30)) { $0 } != nil)
    far.cancel()
  }
}
