import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// An event is acknowledged after its handler and not before: whatever ends in between, it comes again.
@Suite(.serialized) struct AcknowledgementTests {
  @Test func anEventWhoseConnectionEndsDuringItsHandlerComesAgain() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let gate = Gate()
      let again = Collected<HandlerContext>()
      let id = try await withSecondBroker { broker in
        let begun = Collected<Bool>()
        let first = service.subscriber(on: broker) {
          $0.gracePeriod = .zero
        } handlers: {
          On(Ping.self) { _, context in
            begun.add(context.delivery.isRedelivered)
            await gate.passWhateverHappens()
          }
        }
        let running = Task { try await first.run() }
        try await first.waitUntilReady()
        let id = try await service.publisher.publish(Ping(number: 1)).id
        #expect(await begun.wait(for: 1) == [false])
        #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
        broker.consuming.submit(.close(because: nil))
        let ended = await end(of: running, within: .seconds(5))
        #expect(throws: RabbitMQError.self) { try #require(ended).get() }
        return id
      }
      let second = service.subscriber { On(Ping.self) { _, context in again.add(context) } }
      try await whileConsuming(second) {
        let context = try #require(await again.wait(for: 1)?.first)
        #expect(context.delivery.isRedelivered)
        #expect(context.metadata.id == id)
        // The first handler ends now, as if it had succeeded: too late, and without harm.
        gate.open()
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 0))
      }
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
      #expect(again.all.count == 1)
    }
  }

  enum Answer: CaseIterable { case throwing, returning, ignoring, notAtAll }

  /// Whatever a handler does with its cancellation, the event was not handled. Only a handler that decides (`ignore`) has.
  @Test(arguments: Answer.allCases) func anEventWhoseSubscriberIsCancelledComesAgain(answer: Answer) async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let gate = Gate()
      let begun = Collected<Int>()
      let first = service.subscriber {
        On(Ping.self) { event, context in
          begun.add(event.number)
          switch answer {
          case .throwing: try await gate.pass()
          case .returning: try? await gate.pass()
          case .ignoring:
            try? await gate.pass()
            context.ignore("it is the end")
          case .notAtAll: await gate.passWhateverHappens()
          }
        }
      }
      let running = Task { try await first.run() }
      try await first.waitUntilReady()
      try await service.publisher.publish(Ping(number: 1))
      #expect(await begun.wait(for: 1) != nil)
      running.cancel()
      let ended = await end(of: running, within: .seconds(10))
      _ = try #require(ended).get()
      gate.open()
      let again = Collected<String>()
      let second = service.subscriber {
        $0.concurrency = 1
      } handlers: {
        On(Ping.self) { event, context in again.add("\(event.number) \(context.delivery.isRedelivered)") }
      }
      try await whileConsuming(second) {
        try await service.publisher.publish(Ping(number: 2))
        let expected = answer == .ignoring ? ["2 false"] : ["1 true", "2 false"]
        #expect(await again.wait(for: expected.count) == expected)
      }
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// Three of a window of forty have ended, far fewer than are gathered for one acknowledgement, and nothing else moves: the
  /// broker hears of them all the same, because it sends three more.
  @Test func acknowledgementsDoNotWaitForFurtherEvents() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let gate = Gate()
      let level = Level()
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        $0.prefetch = 40
        $0.concurrency = 40
      } handlers: {
        On(Ping.self) { event, _ in
          level.enter()
          if event.number < 37 || event.number > 39 { try await gate.pass() }
          handled.add(event.number)
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (0..<50).map { Ping(number: $0) })
        #expect(await level.wait { $0.entered == 43 } != nil)
        #expect(handled.all.sorted() == [37, 38, 39])
        gate.open()
        #expect(await handled.wait(for: 50)?.sorted() == Array(0..<50))
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 0))
      }
    }
  }
}
