import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What `health` says of a broker and its subscribers. Lost, half-open and blocked connections are with the tests that make
/// them.
@Suite(.serialized) struct HealthTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }

  @Test func aQueueThatIsGoneShowsUntilItIsBack() async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      try await withSecondBroker({ $0.topology = .assume }) { broker in
        let got = Collected<Int>()
        let subscriber = service.subscriber(on: broker) { On(Ping.self) { event, _ in got.add(event.number) } }
        try await whileConsuming(subscriber) {
          #expect(broker.health.isReady && broker.health.liveConsumers == 1 && broker.health.expectedConsumers == 1)
          let queue = try service.workQueue(Ping.eventType)
          try await service.rabbit.topology.perform(.deleteQueue(queue))
          #expect(try await eventually(timeout: .seconds(5)) { !broker.health.isReady })
          #expect(try await eventually(timeout: .seconds(5)) { broker.health.consumers[0].state == .refused })
          let health = broker.health
          #expect(health.status == .degraded && health.isLive && health.liveConsumers == 0)
          #expect(
            health.reasons.count == 1 && health.reasons[0].contains(queue) && health.reasons[0].contains("no queue"))
          #expect(health.consumers[0].lastFailure?.code == .notFound)
          let refused = await error(RabbitMQError.self) { try await subscriber.waitUntilReady() }
          #expect(refused?.code == .notFound)

          try await service.rabbit.topology.redeclare(
            TopologyEntity.subscription(
              QueueOwner(service: ServiceName(service.name.name)), Ping.eventType, .init()))
          #expect(try await eventually(timeout: .seconds(20)) { broker.health.isReady })
          try await service.publisher.publish(Ping(number: 1))
          #expect(await got.wait(for: 1) == [1])
          #expect(try await eventually { broker.health.consumers[0].sinceLastProgress != nil })
        }
        #expect(broker.health.consumers.isEmpty)
      }
    }
  }

  @Test func aPauseIsNoFailure() async throws {
    try await withTestService(Ping.eventType) { service in
      let gate = Gate()
      let level = Level()
      let subscriber = service.subscriber {
        On(Ping.self) { _, _ in
          level.enter()
          try await gate.pass()
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Ping(number: 1))
        #expect(await level.wait { $0.inside == 1 } != nil)
        #expect(service.rabbit.health.consumers[0].runningHandlers == 1)
        let pausing = Task { try await subscriber.pause() }
        #expect(try await eventually { service.rabbit.health.consumers[0].state == .stopping })
        gate.open()
        try await pausing.value
        let health = service.rabbit.health
        #expect(health.consumers[0].state == .paused && health.isReady)
        #expect(health.expectedConsumers == 0 && health.liveConsumers == 0)
        try await subscriber.resume()
        #expect(service.rabbit.health.liveConsumers == 1)
      }
    }
  }

  @Test func theLastConfirmIsKnown() async throws {
    try await withTestService(Ping.eventType) { service in
      try await withSecondBroker { broker in
        #expect(broker.health.sinceLastConfirm == nil)
        _ = try? await Publisher(broker, source: "tests").publish(Ping(number: 1))
        #expect(try await eventually { broker.health.sinceLastConfirm.map { $0 < .seconds(30) } ?? false })
        let address = try #require(broker.health.publishing.address)
        #expect(address.hasSuffix(":\(try TestBroker.configuration.hosts[0].port)"))
        #expect(broker.health.publishing.connections == 1 && broker.health.publishing.state == .open)
      }
    }
  }
}
