import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// What comes of an event whose handler fails and which is tried again.
@Suite(.serialized) struct RetryTests {
  private struct Busy: Error, CustomStringConvertible { var description: String { "the database is busy" } }
  private struct Invalid: Error, CustomStringConvertible { var description: String { "no such account" } }

  /// Quick enough for tests.
  private static let policy = RetryPolicy(
    inPlace: [.milliseconds(5)], delays: [.milliseconds(100), .milliseconds(300)])

  private struct Run: Sendable {
    var number: Int
    var round: Int
    var at = ContinuousClock.now
    var routingKey = ""
    var id: EventID?
    var type: EventType?
  }

  /// Runs `handle` for each event, with that policy, and returns all runs.
  private func runs(
    of events: [Note], policy: RetryPolicy = policy, until count: Int,
    options: PublishOptions = .init(), queue: QueueOptions = .init(),
    handle: @escaping @Sendable (Note, HandlerContext) async throws -> Void,
    after: (TestService) async throws -> Void = { _ in }
  ) async throws -> [Run] {
    try await withTestService(Note.eventType) { service in
      service.litterRungs()
      let runs = Collected<Run>()
      let subscriber = service.subscriber {
        $0.retry = policy
        $0.retryLadder = [.milliseconds(100), .milliseconds(300), .seconds(1)]
      } handlers: {
        On(Note.self, queue: queue) { note, context in
          runs.add(
            Run(
              number: note.number, round: context.attempt, routingKey: context.delivery.routingKey,
              id: context.metadata.id, type: context.metadata.type))
          try await handle(note, context)
        }
      }
      return try await whileConsuming(subscriber) {
        for event in events { try await service.publisher.publish(event, options: options) }
        let all = try #require(await runs.wait(for: count, timeout: .seconds(20)))
        try await after(service)
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Note.eventType), 0))
        #expect(runs.all.count == count)
        return all
      }
    }
  }

  private struct Note: Event {
    static let eventType = freshType("retried")
    var number: Int
  }

  @Test func twoTriesInEachOfThreeRoundsAndThenTheDeadLetters() async throws {
    var options = PublishOptions()
    options.routingKey = "eu.note"
    options.key = "k"
    options.headers = ["tenant": "t1"]
    let all = try await runs(of: [Note(number: 1)], until: 6, options: options) { _, _ in
      throw Busy()
    } after: {
      service in
      let dead = try #require(
        try await service.rabbit.look(at: service.deadLetters(Note.eventType)).first)
      #expect(dead.cause == "handlerFailed")
      #expect(dead.header("warren-last-error") == "the database is busy")
      #expect(dead.headers["warren-attempt"]?.int == 3)
      #expect(dead.header("warren-origin-queue") == (try service.workQueue(Note.eventType)))
      #expect(dead.header("warren-origin-routing-key") == "eu.note")
      #expect(dead.header("warren-origin-exchange") == EntityNames.exchange(of: Note.eventType))
      #expect(dead.headers["tenant"] == "t1")
      #expect(dead.headers["x-death"] == nil)
      let first = try #require(dead.header("warren-first-failed-at"))
      let last = try #require(dead.header("warren-failed-at"))
      #expect(first < last)
    }
    #expect(all.map(\.round) == [1, 1, 2, 2, 3, 3])
    // The same event in every respect.
    #expect(Set(all.map(\.id)).count == 1)
    #expect(all.allSatisfy { $0.routingKey == "eu.note" && $0.type == Note.eventType })
    #expect(all[2].at - all[1].at >= .milliseconds(100))
    #expect(all[4].at - all[3].at >= .milliseconds(300))
  }

  @Test func othersAreHandledMeanwhile() async throws {
    let events = [Note(number: 0)] + (1...50).map { Note(number: $0) }
    let all = try await runs(of: events, until: 50 + 3) { note, context in
      if note.number == 0, context.attempt == 1 { throw Busy() }
    }
    #expect(all.filter { $0.number == 0 }.map(\.round) == [1, 1, 2])
  }

  /// The way through a rung is only as safe as the rung: a classic queue would forward what is due without a confirm, and lose
  /// it when the node dies between the two queues.
  @Test func theEventsOfAClassicQueueWaitInQuorumQueuesToo() async throws {
    let all = try await runs(
      of: (0..<20).map { Note(number: $0) }, until: 40, queue: .init(kind: .classicWithWeakerGuarantees)
    ) { _, context in
      if context.attempt == 1 { context.retry(after: .milliseconds(100)) }
    } after: { service in
      let owner = try QueueOwner(service: service.name)
      // The same arguments as another service's, of which the kind is one; the broker refuses others.
      try await service.rabbit.topology.redeclare(TopologyEntity.retryRung(of: owner, delay: .milliseconds(100)))
    }
    for round in 1...2 { #expect(all.filter { $0.round == round }.map(\.number).sorted() == Array(0..<20)) }
  }

  @Test func errorsMayHaveRulesOfTheirOwn() async throws {
    let policy = Self.policy.deadLettering(Invalid.self).ignoring(CancellationError.self)
    let all = try await runs(of: (1...3).map { Note(number: $0) }, policy: policy, until: 4) { note, context in
      switch note.number {
      case 1: throw Invalid()
      case 2: throw CancellationError()
      default: if context.attempt == 1 { throw Busy() }
      }
    } after: { (service: TestService) async throws -> Void in
      let dead = try service.deadLetters(Note.eventType)
      #expect(try await service.rabbit.waitForDepth(dead, 1))
    }
    #expect(all.filter { $0.number == 1 }.count == 1)
    #expect(all.filter { $0.number == 2 }.count == 1)
    #expect(all.filter { $0.number == 3 }.count == 2)
  }

  @Test func aHandlerMayAskForAnotherRound() async throws {
    let all = try await runs(of: [Note(number: 1)], policy: .never, until: 3) { _, context in
      switch context.attempt {
      case 1: context.retry(after: .milliseconds(250), reason: "too early")
      case 2:
        context.retry(reason: "once more")
        context.retry(after: .milliseconds(50))
      default: break
      }
    }
    #expect(all.map(\.round) == [1, 2, 3])
    // The rung that is at least as long.
    #expect(all[1].at - all[0].at >= .milliseconds(300))
    #expect(all[2].at - all[1].at >= .milliseconds(100))
  }

  @Test func whatItPublishedLeavesOnlyWithTheRoundThatSucceeds() async throws {
    try await withTestService(Note.eventType) { service in
      service.litterRungs()
      struct Out: Event {
        static let eventType = freshType("out")
        var round: Int
      }
      let output = Out.eventType
      service.litter.exchange(EntityNames.exchange(of: output))
      let sink = unique("sink")
      try await service.rabbit.topology.ensure([.exchange(of: output)])
      try await service.rabbit.testQueue(sink, bound: [(EntityNames.exchange(of: output), "#")], litter: service.litter)
      let publisher = service.publisher
      let subscriber = service.subscriber {
        $0.retry = Self.policy
        $0.retryLadder = [.milliseconds(100)]
      } handlers: {
        On(Note.self) { note, context in
          try await publisher.publish(Out(round: context.attempt))
          if context.attempt == 1 { throw Busy() }
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Note(number: 1))
        #expect(try await service.rabbit.waitForDepth(sink, 1))
        #expect(try await service.rabbit.look(at: sink).map(\.text) == ["{\"round\":2}"])
      }
    }
  }

  /// A subscription keeps its retries to itself: another service's copy of the same event is not handled again.
  @Test func aRetryReachesTheQueueThatFailedAndNoOther() async throws {
    try await withTestService(Note.eventType) { service in
      service.litterRungs()
      let other = try service.sibling(Note.eventType)
      let (mine, others) = (Collected<Int>(), Collected<Int>())
      let failing = service.subscriber {
        $0.retry = Self.policy
        $0.retryLadder = [.milliseconds(100)]
      } handlers: {
        On(Note.self) { note, context in
          mine.add(context.attempt)
          if context.attempt < 3 { throw Busy() }
        }
      }
      let healthy = other.subscriber { On(Note.self) { note, context in others.add(context.attempt) } }
      try await whileConsuming(healthy) {
        try await whileConsuming(failing) {
          try await service.publisher.publish(Note(number: 1))
          #expect(await mine.wait(for: 5) == [1, 1, 2, 2, 3])
        }
      }
      #expect(others.all == [1])
    }
  }
}

extension TestService {
  /// The rungs that a test of retries may leave.
  func litterRungs(_ delays: [Duration] = [.milliseconds(100), .milliseconds(300), .seconds(1), .seconds(5)]) {
    guard let owner = try? QueueOwner(service: name) else { return }
    for delay in delays {
      litter.queue(EntityNames.retryRung(of: owner, delay: delay))
      litter.exchange(EntityNames.retryRung(of: owner, delay: delay))
    }
  }
}
