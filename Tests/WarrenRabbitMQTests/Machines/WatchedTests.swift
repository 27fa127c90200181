import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

@Suite(.timeLimit(.minutes(1))) struct WatchedTests {
  @Test func whatIsTrueAlreadyNeedsNoWait() async {
    let watched = Watched(5)
    #expect(await watched.wait { $0 == 5 } == 5)
    #expect(await watched.wait(timeout: .zero) { $0 == 5 } == 5)
  }

  @Test func updateReturnsWhatTheChangeReturns() {
    let watched = Watched([1, 2])
    #expect(watched.update { $0.removeLast() } == 2)
    #expect(watched.value == [1])
  }

  @Test func theDeadlineEndsTheWaitWithNothing() async {
    let watched = Watched(0)
    let start = ContinuousClock.now
    #expect(await watched.wait(timeout: .milliseconds(30)) { $0 > 0 } == nil)
    #expect(ContinuousClock.now - start >= .milliseconds(30))
    // Who has given up is not resumed again.
    watched.update { $0 = 1 }
  }

  @Test func cancellingEndsTheWaitBeforeAndAfterItBegins() async {
    let watched = Watched(0)
    for _ in 0..<300 {
      let task = Task { await watched.wait { $0 > 0 } }
      if Bool.random() { await Task.yield() }
      task.cancel()
      #expect(await task.value == nil)
    }
    let early = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return await watched.wait { $0 > 0 }
    }
    #expect(await early.value == nil)
  }

  @Test func aValueThatIsThereWinsOverACancellation() async {
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return await Watched(1).wait { $0 == 1 }
    }
    #expect(await task.value == 1)
  }

  @Test func theWaiterGetsTheValueThatSatisfiedItNotALaterOne() async {
    let watched = Watched(0)
    let isWaiting = Watched(false)
    let task = Task {
      await watched.wait { value in
        isWaiting.update { $0 = true }
        return value == 1
      }
    }
    _ = await isWaiting.wait { $0 }
    watched.update { $0 = 1 }
    watched.update { $0 = 2 }
    // Seen before the update or in it: both is 1, unless the task came after both.
    watched.update { $0 = 1 }
    #expect(await task.value == 1)
  }

  @Test func noWakeUpIsLostWhileManyChangeAndManyWait() async {
    var random = ReplayableRandom()
    for _ in 0..<60 {
      let watched = Watched(0)
      let (changers, changes) = (random.int(1...4), random.int(1...25))
      let total = changers * changes
      let goals = (0..<30).map { _ in random.int(0...total) }
      let seen = await withTaskGroup(of: (goal: Int, value: Int?).self) { group in
        for (number, goal) in goals.enumerated() {
          // Half of them with a deadline that they do not reach.
          let timeout: Duration? = number % 2 == 0 ? .seconds(50) : nil
          group.addTask { (goal, await watched.wait(timeout: timeout) { $0 >= goal }) }
        }
        for _ in 0..<changers {
          group.addTask {
            for _ in 0..<changes {
              watched.update { $0 += 1 }
              if changes % 3 == 0 { await Task.yield() }
            }
            return (0, 0)
          }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      for (goal, value) in seen { #expect(value.map { $0 >= goal } == true, random.replay) }
      #expect(watched.value == total, random.replay)
    }
  }

  @Test func eachWaiterEndsOnceWhenDeadlineCancellationAndValueMeet() async {
    var random = ReplayableRandom()
    for _ in 0..<300 {
      let watched = Watched(false)
      let timeout = Duration.microseconds(random.int(0...6000))
      let task = Task { await watched.wait(timeout: timeout) { $0 } }
      let pause = random.int(0...30)
      async let change: Void = {
        for _ in 0..<pause { await Task.yield() }
        watched.update { $0 = true }
      }()
      if random.oneIn(2) { task.cancel() }
      // A second resume traps, a missing one runs into the suite's time limit.
      let value = await task.value
      #expect(value == nil || value == true, random.replay)
      await change
    }
  }
}
