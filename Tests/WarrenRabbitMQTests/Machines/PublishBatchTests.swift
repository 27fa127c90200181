import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

@Suite(.timeLimit(.minutes(1))) struct PublishBatchTests {
  @Test func outcomesComeInTheOrderOfThePlaces() {
    let batch = PublishBatch()
    for place in 0..<4 { #expect(batch.reserve() == place) }
    batch.settled(1, .confirmed)
    batch.settled(3, .refused("d"))
    #expect(batch.drain() == [])
    batch.settled(0, .unroutable("a"))
    #expect(batch.drain() == [.unroutable("a"), .confirmed])
    #expect(batch.drain() == [])
    #expect(batch.reserve() == 4)
    batch.settled(2, .unknown("c"))
    #expect(batch.drain() == [.unknown("c"), .refused("d")])
    batch.settled(4, .confirmed)
    #expect(batch.drain() == [.confirmed])
  }

  @Test func aPlaceIsSettledOnceAlsoAfterItWasDrained() async {
    let batch = PublishBatch()
    _ = (batch.reserve(), batch.reserve())
    batch.settled(0, .confirmed)
    batch.settled(0, .refused("again"))
    #expect(batch.drain() == [.confirmed])
    batch.settled(0, .refused("again"))
    #expect(batch.drain() == [])
    // The repeats have not made it look emptier than it is.
    let wait = Task { await batch.wait(untilPending: 0) }
    batch.settled(1, .confirmed)
    await wait.value
    #expect(batch.drain() == [.confirmed])
  }

  @Test func waitingReturnsAsSoonAsFewEnoughAreUnderWay() async {
    let batch = PublishBatch()
    for _ in 0..<5 { _ = batch.reserve() }
    await batch.wait(untilPending: 5)
    let passed = Watched<[Int]>([])
    let waiter = Task {
      for limit in [4, 2, 0] {
        await batch.wait(untilPending: limit)
        passed.update { $0.append(limit) }
      }
    }
    batch.settled(4, .confirmed)
    #expect(await passed.wait { !$0.isEmpty } == [4])
    batch.settled(0, .confirmed)
    batch.settled(1, .confirmed)
    #expect(await passed.wait { $0.count >= 2 } == [4, 2])
    batch.settled(2, .confirmed)
    #expect(passed.value == [4, 2])
    batch.settled(3, .confirmed)
    await waiter.value
    #expect(passed.value == [4, 2, 0])
  }

  private func operation(
    _ batch: PublishBatch, timeout: Duration = .seconds(3600)
  ) throws -> (index: Int, operation: PublishOperation) {
    let index = batch.reserve()
    return (index, PublishOperation(try .sample(), timeout: timeout, completion: .batch(batch, index: index)))
  }

  @Test func cancellingTheCallerReachesWhatIsUnderWay() async throws {
    let batch = PublishBatch()
    let operations = try (0..<3).map { _ in try operation(batch) }
    batch.track(operations)
    _ = operations[1].operation.claim()
    operations[2].operation.settle(.confirmed)
    let caller = Task { await batch.wait(untilPending: 0) }
    caller.cancel()
    await caller.value
    #expect(
      batch.drain() == [
        .notPublished("not written: the task was cancelled"),
        .unknown("written, but not confirmed: the task was cancelled"), .confirmed,
      ])
  }

  @Test func whatIsTrackedAfterTheCancellationEndsToo() async throws {
    let batch = PublishBatch()
    let first = try operation(batch)
    batch.track([first])
    let caller = Task { await batch.wait(untilPending: 0) }
    caller.cancel()
    await caller.value
    let late = try operation(batch)
    batch.track([late])
    #expect(batch.drain().count == 2)
    await batch.wait(untilPending: 0)
  }

  @Test func whatWasSettledBeforeItIsTrackedIsLeftAlone() async throws {
    let batch = PublishBatch()
    let quick = try operation(batch)
    quick.operation.settle(.confirmed)
    #expect(batch.drain() == [.confirmed])
    batch.track([quick])
    await batch.wait(untilPending: 0)
    #expect(batch.drain() == [])
  }

  @Test func underRandomSettlingEachOutcomeComesOnceAndInOrder() async throws {
    var random = ReplayableRandom()
    for _ in 0..<60 {
      let batch = PublishBatch()
      let (count, window) = (random.int(1...80), random.int(1...10))
      let settlers = AsyncStream.makeStream(of: Int.self)
      var seeds = random
      let settling = Task {
        var held: [Int] = []
        for await index in settlers.stream {
          held.append(index)
          // Out of order, and some twice.
          while held.count >= window || (!held.isEmpty && seeds.oneIn(2)) {
            let index = held.remove(at: seeds.int(0...held.count - 1))
            batch.settled(index, .refused("\(index)"))
            if seeds.oneIn(4) { batch.settled(index, .confirmed) }
          }
        }
        for index in held { batch.settled(index, .refused("\(index)")) }
      }
      var outcomes: [PublishOutcome] = []
      for _ in 0..<count {
        await batch.wait(untilPending: window)
        settlers.continuation.yield(batch.reserve())
        if random.oneIn(3) { outcomes += batch.drain() }
      }
      settlers.continuation.finish()
      await batch.wait(untilPending: 0)
      await settling.value
      outcomes += batch.drain()
      #expect(outcomes == (0..<count).map { .refused("\($0)") }, random.replay)
    }
  }
}
