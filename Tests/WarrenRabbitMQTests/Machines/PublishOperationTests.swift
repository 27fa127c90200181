import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

@Suite(.timeLimit(.minutes(1))) struct PublishOperationTests {
  private func operation(timeout: Duration = .seconds(3600)) throws -> PublishOperation {
    PublishOperation(try .sample(), timeout: timeout, completion: .awaited)
  }

  @Test func whoSettlesFirstDecides() async throws {
    let operation = try operation()
    #expect(operation.claim())
    operation.settle(.confirmed)
    operation.settle(.refused("too late"))
    operation.abandon(because: "too late")
    operation.fire()
    #expect(await operation.outcome() == .confirmed)
    #expect(await operation.outcome() == .confirmed)
  }

  @Test func whatWasSettledIsNotWrittenAnyMore() throws {
    let operation = try operation()
    operation.abandon(because: "nobody waits")
    #expect(!operation.claim())
  }

  @Test func itMayBeWrittenAgain() throws {
    let operation = try operation()
    #expect(operation.claim())
    #expect(operation.claim())
    operation.settle(.confirmed)
    #expect(!operation.claim())
  }

  @Test func anEndBeforeTheWritingIsNotPublishedAndOneAfterItUnknown() async throws {
    let unwritten = try operation()
    unwritten.abandon(because: "the connection ended")
    #expect(await unwritten.outcome() == .notPublished("not written: the connection ended"))
    let written = try operation()
    _ = written.claim()
    written.abandon(because: "the connection ended")
    #expect(await written.outcome() == .unknown("written, but not confirmed: the connection ended"))
  }

  /// An earlier write of it may have arrived, whatever becomes of the last one.
  @Test func aNoToASecondWriteIsNoNoToTheFirst() async throws {
    for no in [PublishOutcome.unroutable("u"), .refused("r"), .congested("c")] {
      let once = try operation()
      _ = once.claim()
      once.settleLastWrite(no)
      #expect(await once.outcome() == no)
      let twice = try operation()
      _ = twice.claim()
      twice.becomesDoubtful()
      _ = twice.claim()
      twice.settleLastWrite(no)
      guard case .unknown = await twice.outcome() else {
        Issue.record("\(no) for an event whose first confirm was lost")
        continue
      }
    }
    let confirmed = try operation()
    confirmed.becomesDoubtful()
    confirmed.settleLastWrite(.confirmed)
    #expect(await confirmed.outcome() == .confirmed)
  }

  @Test func theDeadlineSaysTheSame() async throws {
    guard case .notPublished(let text) = await (try operation(timeout: .milliseconds(5))).outcome() else {
      Issue.record("an event that was not written is not unknown")
      return
    }
    #expect(text.contains("0.005 seconds"))
    let written = try operation(timeout: .milliseconds(50))
    let isInTime = written.claim()
    let outcome = await written.outcome()
    if isInTime {
      guard case .unknown = outcome else {
        Issue.record("\(outcome) for an event that was written")
        return
      }
    }
  }

  @Test func cancellingTheCallerSettles() async throws {
    let operation = try operation()
    _ = operation.claim()
    let task = Task { await operation.outcome() }
    task.cancel()
    #expect(await task.value == .unknown("written, but not confirmed: the task was cancelled"))
    #expect(!operation.claim())
  }

  @Test func itsSizeIsHeadAndBody() throws {
    let request = try PublishRequest.sample("12345")
    #expect(
      PublishOperation(request, timeout: .zero, completion: .awaited).size == request.head.bytes.count + 5)
  }

  /// The engine claims and confirms, the deadline passes, the caller is cancelled and the connection ends, all at once.
  @Test func underAllRacesThereIsOneOutcomeAndItFitsTheWriting() async throws {
    var random = ReplayableRandom()
    var kinds: Set<String> = []
    for round in 0..<1500 {
      let operation = try operation(timeout: .microseconds(random.int(0...8000)))
      let caller = Task { await operation.outcome() }
      let (confirms, cancels, ends) = (random.oneIn(2), random.oneIn(3), random.oneIn(4))
      let (first, second) = (random.int(0...6), random.int(0...6))
      async let isWritten = {
        for _ in 0..<first { await Task.yield() }
        let isWritten = operation.claim()
        for _ in 0..<second { await Task.yield() }
        if isWritten, confirms { operation.settle(.confirmed) }
        return isWritten
      }()
      async let end: Void = {
        for _ in 0..<second { await Task.yield() }
        if ends { operation.abandon(because: "end") }
      }()
      if cancels { caller.cancel() }
      // A second resume traps, a missing one runs into the suite's time limit.
      let outcome = await caller.value
      let wasWritten = await isWritten
      await end
      #expect(await operation.outcome() == outcome, random.replay)
      switch outcome {
      case .confirmed:
        kinds.insert("confirmed")
        #expect(wasWritten && confirms, "round \(round). \(random.replay)")
      case .unknown:
        kinds.insert("unknown")
        #expect(wasWritten, "round \(round). \(random.replay)")
      case .notPublished:
        kinds.insert("notPublished")
        #expect(!wasWritten, "round \(round). \(random.replay)")
      case .unroutable, .refused, .congested: Issue.record("\(outcome). \(random.replay)")
      }
    }
    #expect(kinds.count == 3, "only \(kinds) in 1500 rounds. \(random.replay)")
  }
}
