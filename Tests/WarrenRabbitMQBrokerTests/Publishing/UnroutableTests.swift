import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Events that reach no queue come back from the broker, and the confirm that follows belongs to them alone.
struct UnroutableTests {
  @Test func returnsAndConfirmsAreToldApart() async throws {
    try await withTap { tap in
      try await withTestBroker({
        $0.go(through: tap)
        $0.publishing.window = 100
      }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, keys: ["bound.*"], litter)
        let events = (0..<1000).map { number in
          EncodedEvent(
            type, "\(number)".utf8, routingKey: number.isMultiple(of: 2) ? "bound.\(number)" : "free.\(number)")
        }
        let outcomes = await Publisher(rabbit, source: "tests").publish(encoded: events)
        for (number, outcome) in outcomes.enumerated() {
          if number.isMultiple(of: 2) {
            #expect(outcome == .confirmed)
          } else {
            let place = "no queue is bound to events.\(type) for the routing key \"free.\(number)\""
            #expect(outcome == .unroutable("\(place) (312 NO_ROUTE)"))
          }
        }
        #expect(tap.events.count { if case .returned = $0 { true } else { false } } == 500)
        let got = try await foreign { try $0.take(queue, 500) }
        #expect(got.map(\.text) == stride(from: 0, to: 1000, by: 2).map(String.init))
        #expect(try await rabbit.depth(queue) == 0)
      }
    }
  }

  @Test func aPublisherFailsOrAcceptsByItsPolicy() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let failing = Publisher(rabbit, source: "tests")
      let thrown = try #require(await error(PublishError.self) { try await failing.publish(Numbered(type, 1)) })
      #expect(thrown.code == .unroutable)
      #expect(thrown.isRetryable)
      #expect(!thrown.mayHaveBeenPublished)
      #expect(thrown.type == type)
      #expect(thrown.message.contains("no queue is bound to events.\(type)"))

      let batch = try #require(
        await error(BatchPublishError.self) {
          try await failing.publish(contentsOf: (0..<3).map { Numbered(type, $0) })
        })
      #expect(batch.outcomes.map(\.kind) == ["unroutable", "unroutable", "unroutable"])
      #expect(batch.confirmed == 0)

      var options = Publisher.Options()
      options.unroutable = .accept
      let accepting = Publisher(rabbit, source: "tests", options: options)
      let id = try EventID("of my own")
      #expect(try await accepting.publish(Numbered(type, 2), options: .init(id: id)) == .confirmed(id))
      #expect(await accepting.publish(encoded: [.init(type, [1])]) == [.confirmed])
      #expect(try await accepting.publish(contentsOf: [Numbered(type, 3)]).count == 1)
    }
  }

  @Test func aHeaderOfAnotherPublisherDoesNotHideAReturn() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      _ = try await rabbit.sink(type, keys: ["bound"], litter)
      // A relay that passes on all the headers of a message that it received.
      var free = EncodedEvent(type, [1], routingKey: "free")
      free.metadata.headers["warren-seq"] = 1
      let outcomes = await Publisher(rabbit, source: "tests").publish(
        encoded: [.init(type, [0], routingKey: "bound"), free, .init(type, [2], routingKey: "bound")])
      #expect(outcomes.map(\.kind) == ["confirmed", "unroutable", "confirmed"])
    }
  }

  @Test func theDefaultExchangeNamesTheQueueThatIsMissing() async throws {
    try await withTestBroker { rabbit, litter in
      let queue = unique("direct")
      let outcome = try await rabbit.publishRaw(exchange: "", routingKey: queue)
      #expect(outcome == .unroutable("the queue \"\(queue)\" does not exist (312 NO_ROUTE)"))
      try await rabbit.testQueue(queue, litter: litter)
      #expect(try await rabbit.publishRaw(exchange: "", routingKey: queue) == .confirmed)
      #expect(try await rabbit.depth(queue) == 1)
    }
  }
}
