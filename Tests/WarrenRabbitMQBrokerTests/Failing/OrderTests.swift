import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// Subscribers in order by key, without a store.
@Suite(.serialized) struct OrderTests {
  private struct Step: Event {
    static let eventType = freshType("step")
    var key: String
    var number: Int
  }
  private struct Turn: Event {
    static let eventType = freshType("turn")
    var key: String
    var number: Int
  }

  /// What a key's events were handled as, in order.
  private final class Ledger: Sendable {
    private let entries = Watched<[(key: String, number: Int)]>([])
    func add(_ key: String, _ number: Int) { entries.update { $0.append((key, number)) } }
    func wait(for count: Int) async -> Bool {
      await entries.wait(timeout: .seconds(30)) { $0.count >= count } != nil
    }
    func numbers(of key: String) -> [Int] { entries.value.filter { $0.key == key }.map(\.number) }
    var count: Int { entries.value.count }
  }

  @Test func aFailingKeyHoldsBackOnlyItself() async throws {
    try await withTestService(Step.eventType) { service in
      let ledger = Ledger()
      let failures = Lock(0)
      let subscriber = service.subscriber {
        $0.retry = RetryPolicy(inPlace: [.milliseconds(20)], delays: [.milliseconds(200), .milliseconds(200)])
        $0.concurrency = 4
      } handlers: {
        On(Step.self, orderedBy: \.key) { step, _ in
          if step.key == "a", step.number == 3,
            failures.withLock({
              $0 += 1; return $0
            }) < 5
          {
            throw Refusal("not yet")
          }
          ledger.add(step.key, step.number)
        }
      }
      try await whileConsuming(subscriber) {
        var events: [Step] = []
        for number in 0..<20 { for key in ["a", "b", "c"] { events.append(Step(key: key, number: number)) } }
        try await service.publisher.publish(contentsOf: events)
        #expect(await ledger.wait(for: 60))
      }
      for key in ["a", "b", "c"] { #expect(ledger.numbers(of: key) == Array(0..<20), "\(key)") }
      #expect(try await service.rabbit.depth(service.workQueue(Step.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Step.eventType)) == 0)
    }
  }

  /// The blocker goes to the dead letters when its rounds are used up, and its successors follow.
  @Test func theCulpritEndsInTheDeadLettersAndItsKeyGoesOn() async throws {
    try await withTestService(Step.eventType) { service in
      let ledger = Ledger()
      let subscriber = service.subscriber {
        $0.retry = RetryPolicy(delays: [.milliseconds(50)])
      } handlers: {
        On(Step.self, orderedBy: \.key) { step, context in
          if step.number == 1 { throw Refusal("never") }
          ledger.add(step.key, step.number)
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (0..<4).map { Step(key: "a", number: $0) })
        #expect(await ledger.wait(for: 3))
        #expect(try await service.rabbit.waitForDepth(service.deadLetters(Step.eventType), 1))
      }
      #expect(ledger.numbers(of: "a") == [0, 2, 3])
      let dead = try await service.rabbit.look(at: service.deadLetters(Step.eventType))
      #expect(dead.first?.headers["warren-attempt"]?.int == 2)
    }
  }

  @Test func tooManyBehindAFailingKeyPauseTheSubscriptionVisibly() async throws {
    try await withTestService(Step.eventType) { service in
      let isMended = Lock(false)
      let ledger = Ledger()
      let subscriber = service.subscriber {
        $0.retry = RetryPolicy(delays: Array(repeating: .milliseconds(200), count: 50))
        $0.prefetch = 20
      } handlers: {
        On(Step.self, orderedBy: \.key) { step, _ in
          if !isMended.withLock({ $0 }) { throw Refusal("down") }
          ledger.add(step.key, step.number)
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (0..<15).map { Step(key: "a", number: $0) })
      #expect(try await eventually(timeout: .seconds(20)) { subscriber.health.first?.state == .paused })
      #expect(subscriber.health.first?.lastFailure?.code == .orderBlocked)
      #expect(service.rabbit.health.status == .degraded)
      // Everything is back.
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Step.eventType), 15))
      isMended.withLock { $0 = true }
      try await subscriber.resume()
      #expect(await ledger.wait(for: 15))
      #expect(ledger.numbers(of: "a") == Array(0..<15))
      try await subscriber.pause()
      running.cancel()
      try await running.value
      #expect(try await service.rabbit.depth(service.workQueue(Step.eventType)) == 0)
    }
  }

  // MARK: Across types

  @Test func aGroupKeepsOrderAcrossTypes() async throws {
    try await withTestService(Step.eventType, Turn.eventType) { service in
      let owner = try QueueOwner(service: service.name)
      let queue = try EntityNames.groupQueue(of: owner, group: "steps")
      service.litter.queue(queue)
      service.litter.queue(try EntityNames.groupDeadLetterQueue(of: owner, group: "steps"))
      service.litterRungs()
      let ledger = Ledger()
      let failed = Lock(false)
      let options = QueueOptions(group: "steps")
      let subscriber = service.subscriber {
        $0.retry = RetryPolicy(delays: [.milliseconds(100)])
      } handlers: {
        On(Step.self, queue: options, orderedBy: \.key) { step, _ in
          if step.number == 4, step.key == "a",
            !failed.withLock({
              let was = $0; $0 = true; return was
            })
          {
            throw Refusal("once")
          }
          ledger.add(step.key, step.number)
        }
        On(Turn.self, queue: options, orderedBy: \.key) { turn, _ in ledger.add(turn.key, turn.number) }
      }
      try await whileConsuming(subscriber) {
        for number in 0..<20 {
          for key in ["a", "b"] {
            if number.isMultiple(of: 2) {
              try await service.publisher.publish(Step(key: key, number: number))
            } else {
              try await service.publisher.publish(Turn(key: key, number: number))
            }
          }
        }
        #expect(await ledger.wait(for: 40))
      }
      for key in ["a", "b"] { #expect(ledger.numbers(of: key) == Array(0..<20), "\(key)") }
      #expect(try await service.rabbit.depth(queue) == 0)
    }
  }

  @Test func aGroupNeedsNoOrderAndDeadLettersTogether() async throws {
    try await withTestService(Step.eventType, Turn.eventType) { service in
      let owner = try QueueOwner(service: service.name)
      let dead = try EntityNames.groupDeadLetterQueue(of: owner, group: "all")
      service.litter.queue(try EntityNames.groupQueue(of: owner, group: "all"))
      service.litter.queue(dead)
      let subscriber = service.subscriber {
        On(Step.self, queue: .init(group: "all")) { _, _ in throw Refusal("step") }
        On(Turn.self, queue: .init(group: "all")) { _, _ in throw Refusal("turn") }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Step(key: "", number: 1))
        try await service.publisher.publish(Turn(key: "", number: 1))
        let letters = try await service.rabbit.look(at: dead, count: 2)
        #expect(Set(letters.map { $0.header("warren-last-error") }) == ["step", "turn"])
        #expect(Set(letters.map { $0.properties?.type }) == [Step.eventType.name, Turn.eventType.name])
        // A message that does not say what it is.
        try await service.put("{}", into: try EntityNames.groupQueue(of: owner, group: "all"))
        #expect(try await service.rabbit.look(at: dead, count: 3).contains { $0.cause == "unknownType" })
      }
    }
  }

  // MARK: What cannot keep order

  @Test func configurationsThatCannotKeepOrderAreErrors() async throws {
    try await withTestService(Step.eventType, Turn.eventType) { service in
      func problem(@HandlerBuilder _ handlers: @Sendable () -> [any DeliveryHandler]) async -> String {
        let subscriber = service.subscriber(handlers: handlers)
        do {
          try await subscriber.run()
          return "none"
        } catch {
          return "\(error)"
        }
      }
      let key: @Sendable (Delivery) -> String? = { $0.metadata.key }
      let severalQueues = await problem {
        OnRaw(Step.eventType, Turn.eventType) { _, _ in }.ordered(by: key)
      }
      #expect(severalQueues.contains("QueueOptions(group: …)"))
      let classic = await problem {
        On(Step.self, queue: .init(kind: .classicWithWeakerGuarantees), orderedBy: \.key) { _, _ in }
      }
      #expect(classic.contains("use a quorum queue"))
      let mixed = await problem {
        On(Step.self, queue: .init(group: "g"), orderedBy: \.key) { _, _ in }
        On(Turn.self, queue: .init(group: "g")) { _, _ in }
      }
      #expect(mixed.contains("Give all of them an order, or none"))
      let different = await problem {
        On(Step.self, queue: .init(prefetch: 3, group: "g")) { _, _ in }
        On(Turn.self, queue: .init(group: "g")) { _, _ in }
      }
      #expect(different.contains("different QueueOptions"))
      let name = await problem { On(Step.self, queue: .init(group: "Not good")) { _, _ in } }
      #expect(name.contains("group name"))
    }
  }

  @Test func settingsThatCannotWorkAreErrors() async throws {
    try await withTestService(Step.eventType) { service in
      func problem(
        _ change: (inout Subscriber.Options) -> Void, _ handler: any DeliveryHandler = On(Step.self) { _, _ in }
      ) async -> String {
        do {
          try await service.subscriber(change, handlers: { [handler] }).run()
          return "none"
        } catch {
          return "\(error)"
        }
      }
      #expect(await problem({ $0.retry = RetryPolicy(delays: [.zero]) }).contains("1 ms to 30 days"))
      #expect(await problem({ $0.retryLadder = [] }).contains("retryLadder"))
      #expect(await problem({ $0.handlerTimeout = .seconds(1501) }).contains("1 ms to 25 min"))
      #expect(await problem({ _ in }, On(Step.self) { _, _ in }.timeout(.zero)).contains(Step.eventType.name))
      let policy = RetryPolicy(inPlace: [.seconds(100)])
      #expect(await problem({ _ in }, On(Step.self) { _, _ in }.retry(policy)).contains("0 s to 60 s"))
    }
  }
}
