import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// Handlers that take too long: they are stopped, and nobody waits for them.
@Suite(.serialized) struct TimeoutTests {
  private struct Slow: Event {
    static let eventType = freshType("slow")
    var number: Int
  }

  @Test func itIsCancelledAndCountsAsFailed() async throws {
    try await withTestService(Slow.eventType) { service in
      service.litterRungs()
      let rounds = Collected<Int>()
      let subscriber = service.subscriber {
        $0.retry = RetryPolicy(delays: [.milliseconds(100)])
        $0.retryLadder = [.milliseconds(100)]
      } handlers: {
        On(Slow.self) { _, context in
          rounds.add(context.attempt)
          try await Task.sleep(for: .seconds(60))
        }.timeout(.milliseconds(200))
      }
      try await whileConsuming(subscriber) {
        let start = ContinuousClock.now
        try await service.publisher.publish(Slow(number: 1))
        let dead = try await service.rabbit.look(at: service.deadLetters(Slow.eventType), timeout: .seconds(20))
        #expect(dead.first?.cause == "timedOut")
        #expect(dead.first?.header("warren-last-error")?.contains("0.2 seconds") == true)
        #expect(dead.first?.headers["warren-attempt"]?.int == 2)
        #expect(rounds.all == [1, 2])
        #expect(ContinuousClock.now - start >= .milliseconds(500))
      }
    }
  }

  /// It knows nothing of cancellation. Its place is given to others, and its event is not tried again beside it.
  @Test func oneThatDoesNotEndIsGivenUp() async throws {
    try await withTestService(Slow.eventType) { service in
      let gate = Gate()
      let (begun, handled) = (Collected<Int>(), Collected<Int>())
      let subscriber = service.subscriber {
        $0.retry = .standard
        $0.concurrency = 2
      } handlers: {
        On(Slow.self) { slow, _ in
          begun.add(slow.number)
          if slow.number < 2 { await gate.passWhateverHappens() } else { handled.add(slow.number) }
        }.timeout(.milliseconds(200))
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (0..<100).map { Slow(number: $0) })
        // Both places are taken by handlers that hang.
        #expect(await handled.wait(for: 98, timeout: .seconds(20))?.count == 98)
        let dead = try await service.rabbit.look(
          at: service.deadLetters(Slow.eventType), count: 2, timeout: .seconds(20))
        #expect(
          dead.allSatisfy { $0.cause == "timedOut" && $0.header("warren-last-error")?.contains("did not end") == true })
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Slow.eventType), 0))
        // Ending after all changes nothing.
        gate.open()
        #expect(try await service.rabbit.waitForDepth(service.deadLetters(Slow.eventType), 2))
      }
      #expect(begun.all.count == 100)
      #expect(try await service.rabbit.depth(service.workQueue(Slow.eventType)) == 0)
    }
  }

  /// The last moment is not too late: what is committed or decided stands.
  @Test func aDecisionAfterTheCancellationStands() async throws {
    try await withTestService(Slow.eventType) { service in
      let subscriber = service.subscriber {
        On(Slow.self) { _, context in
          try? await Task.sleep(for: .seconds(60))
          context.ignore("seen")
        }.timeout(.milliseconds(200))
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Slow(number: 1))
        #expect(
          try await eventually { try await service.rabbit.consumers(of: service.workQueue(Slow.eventType)) == 1 })
        #expect(try await eventually { subscriber.health.first?.sinceLastProgress != nil })
      }
      #expect(try await service.rabbit.depth(service.workQueue(Slow.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Slow.eventType)) == 0)
    }
  }

  @Test func aPauseBetweenTriesIsNoHandling() async throws {
    try await withTestService(Slow.eventType) { service in
      let tries = Collected<Int>()
      let subscriber = service.subscriber {
        $0.retry = RetryPolicy(inPlace: [.milliseconds(700), .milliseconds(700)])
      } handlers: {
        On(Slow.self) { slow, _ in
          tries.add(slow.number)
          if tries.all.count < 3 { throw Refusal("again") }
        }.timeout(.milliseconds(400))
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Slow(number: 1))
        #expect(await tries.wait(for: 3) == [1, 1, 1])
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Slow.eventType), 0))
      }
      #expect(try await service.rabbit.depth(service.deadLetters(Slow.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.workQueue(Slow.eventType)) == 0)
    }
  }
}
