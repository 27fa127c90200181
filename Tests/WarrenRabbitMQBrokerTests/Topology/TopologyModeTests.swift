import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What declare, verify and assume do, and that they do nothing else.
struct TopologyModeTests {
  private func exists(_ type: EventType, _ rabbit: RabbitMQ) async throws -> Bool {
    do {
      try await rabbit.topology.perform(.declareExchange(EntityNames.exchange(of: type), kind: "topic", passive: true))
      return true
    } catch let error where error.code == .notFound {
      return false
    }
  }

  @Test func declareMakesAllThatAServiceNeeds() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let service = unique()
      try litter.service(service, type)
      let owner = try QueueOwner(service: ServiceName(service))
      #expect(try await !exists(type, rabbit))
      let entities = TopologyEntity.subscription(owner, type, QueueOptions(patterns: ["a.*", "b.#"]))
      try await rabbit.topology.ensure(entities)
      // Again, and from another process: the same settings change nothing.
      try await withTestBroker { other, _ in try await other.topology.ensure(entities) }

      let publisher = Publisher(rabbit, source: "tests")
      let outcomes = await publisher.publish(
        encoded: ["a.1", "a.1.2", "b.1.2", "c"].map { .init(type, $0.utf8, routingKey: $0) })
      #expect(outcomes.map(\.kind) == ["confirmed", "unroutable", "confirmed", "unroutable"])
      #expect(try await rabbit.depth(EntityNames.workQueue(of: owner, type: type)) == 2)
      #expect(try await rabbit.depth(EntityNames.deadLetterQueue(of: owner, type: type)) == 0)
    }
  }

  @Test func verifyFailsOnWhatIsMissingAndMakesNothing() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let service = unique()
      try litter.service(service, type)
      try await withTestBroker({ $0.topology = .verify }) { strict, _ in
        let publisher = Publisher(strict, source: "tests")
        let thrown = try #require(await error(PublishError.self) { try await publisher.publish(Numbered(type, 1)) })
        #expect(thrown.code == .notPublished)
        #expect(
          thrown.message
            == "\"events.\(type)\" does not exist, and topology is set to verify: create it, or set topology to declare"
        )
        #expect(try await !exists(type, rabbit))

        let subscriber = Subscriber(strict, service: try ServiceName(service)) { OnRaw(type) { _, _ in } }
        let ended = try #require(await error(RabbitMQError.self) { try await subscriber.run() })
        #expect(ended.code == .notFound)
        #expect(ended.message.contains("topology is set to verify"))

        // It is there now: the same publisher goes on.
        let owner = try QueueOwner(service: ServiceName(service))
        try await rabbit.topology.ensure(TopologyEntity.subscription(owner, type, QueueOptions()))
        try await publisher.publish(Numbered(type, 2))
        let got = Collected<Int>()
        let again = Subscriber(strict, service: try ServiceName(service)) {
          OnRaw(type) { delivery, _ in got.add(try Numbered.decoded(type: delivery.type, body: delivery.body).number) }
        }
        try await withSubscriber(again) { #expect(await got.wait(for: 1) == [2]) }
      }
    }
  }

  @Test func assumeAsksForNothing() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let service = unique()
      try litter.service(service, type)
      try await withTestBroker({ $0.topology = .assume }) { trusting, _ in
        let publisher = Publisher(trusting, source: "tests")
        let thrown = try #require(await error(PublishError.self) { try await publisher.publish(Numbered(type, 1)) })
        #expect(thrown.code == .refused)
        #expect(thrown.message.contains("no exchange 'events.\(type)'"))
        #expect(try await !exists(type, rabbit))

        let subscriber = Subscriber(trusting, service: try ServiceName(service)) { OnRaw(type) { _, _ in } }
        let ended = try #require(await error(RabbitMQError.self) { try await subscriber.run() })
        #expect(ended.code == .notFound)
        #expect(ended.message.contains("\(service).\(type)"))

        // Whatever settings they have: a fanout exchange and a classic queue that Warren would never declare.
        let exchange = EntityNames.exchange(of: type)
        let owner = try QueueOwner(service: ServiceName(service))
        try await rabbit.topology.perform(.declareExchange(exchange, kind: "fanout", passive: false))
        try await rabbit.testQueue(
          EntityNames.workQueue(of: owner, type: type), arguments: ["x-queue-type": "classic"], bound: [(exchange, "")],
          litter: litter)
        try await publisher.publish(Numbered(type, 2))
        let got = Collected<Data>()
        let again = Subscriber(trusting, service: try ServiceName(service)) {
          OnRaw(type) { delivery, _ in got.add(delivery.body) }
        }
        try await withSubscriber(again) { #expect(await got.wait(for: 1) == [Data("{\"number\":2}".utf8)]) }
      }
    }
  }

  @Test func manyTasksDeclareAtOnce() async throws {
    try await withTestBroker { rabbit, litter in
      let shared = try litter.type("shared")
      let types = try (0..<12).map { try litter.type("own-\($0)") }
      let service = unique()
      for type in types + [shared] { try litter.service(service, type) }
      let owner = try QueueOwner(service: ServiceName(service))
      let spoiled = try litter.type("spoiled")
      let exchange = EntityNames.exchange(of: spoiled)
      try await rabbit.topology.perform(.declareExchange(exchange, kind: "fanout", passive: false))

      // Three processes, each with tasks that want the same and tasks that want their own, and some that cannot have it.
      try await withTestBroker { second, _ in
        try await withTestBroker { third, _ in
          try await withThrowingTaskGroup(of: Void.self) { group in
            for process in [rabbit, second, third] {
              for type in types {
                group.addTask {
                  try await process.topology.ensure(TopologyEntity.subscription(owner, shared, QueueOptions()))
                  try await process.topology.ensure(TopologyEntity.subscription(owner, type, QueueOptions()))
                }
                group.addTask {
                  let refused = await error(RabbitMQError.self) {
                    try await process.topology.ensure([.exchange(of: spoiled)])
                  }
                  #expect(refused?.code == .topologyMismatch)
                }
              }
            }
            try await group.waitForAll()
          }
        }
      }
      let publisher = Publisher(rabbit, source: "tests")
      let outcomes = await publisher.publish(encoded: (types + [shared]).map { .init($0, [1]) })
      #expect(outcomes.allSatisfy { $0.isConfirmed }, "\(outcomes)")
      for type in types + [shared] {
        #expect(try await rabbit.depth(EntityNames.workQueue(of: owner, type: type)) == 1)
      }
    }
  }

  @Test func aCancelledDeclareEndsItsCallAndNoOther() async throws {
    try await withTestBroker { rabbit, litter in
      let types = try (0..<20).map { try litter.type("cancelled-\($0)") }
      let tasks = types.map { type in Task { try await rabbit.topology.ensure([.exchange(of: type)]) } }
      for (number, task) in tasks.enumerated() where number.isMultiple(of: 2) { task.cancel() }
      for (number, task) in tasks.enumerated() {
        let result = await task.result
        if !number.isMultiple(of: 2) { try result.get() }
      }
      // Each can still be declared, on a channel that is in order.
      for type in types { try await rabbit.topology.ensure([.exchange(of: type)]) }
      for type in types { #expect(try await exists(type, rabbit)) }
    }
  }
}
