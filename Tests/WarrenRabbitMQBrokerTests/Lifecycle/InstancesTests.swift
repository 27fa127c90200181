import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Instances of a service pause, go and come while events flow.
@Suite(.serialized, .timeLimit(.minutes(1))) struct InstancesTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }

  private func instance(
    of service: TestService, concurrency: Int = 4, _ handled: Collected<Int>
  ) -> Subscriber {
    service.subscriber {
      $0.prefetch = 30
      $0.concurrency = concurrency
    } handlers: {
      On(Ping.self) { event, _ in
        await Task.yield()
        handled.add(event.number)
      }
    }
  }

  private func publish(_ count: Int, to service: TestService) -> Task<Void, any Error> {
    Task { try await service.publisher.publish(contentsOf: (0..<count).lazy.map { Ping(number: $0) }) }
  }

  /// One of two rests twenty times: the other takes what it gives back, and each event is handled once in sum.
  @Test func oneInstancePausesWhileAnotherGoesOn() async throws {
    try await withTestService(Ping.eventType) { service in
      let count = 2000
      let resting = Collected<Int>()
      let steady = Collected<Int>()
      try await withSecondBroker { broker in
        let other = service.subscriber(on: broker) {
          $0.concurrency = 2
        } handlers: {
          On(Ping.self) { event, _ in steady.add(event.number) }
        }
        let subscriber = instance(of: service, resting)
        try await whileConsuming(subscriber) {
          try await whileConsuming(other) {
            let publishing = publish(count, to: service)
            for round in 1...20 {
              _ = try await eventually { resting.all.count + steady.all.count >= round * 50 }
              try await subscriber.pause()
              let atRest = resting.all.count
              let before = steady.all.count
              // The other goes on while nothing begins here.
              if before + atRest < count { #expect(await steady.wait(for: before + 1) != nil) }
              #expect(resting.all.count == atRest)
              try await subscriber.resume()
            }
            try await publishing.value
            #expect(try await eventually(timeout: .seconds(20)) { resting.all.count + steady.all.count >= count })
          }
        }
      }
      #expect((resting.all + steady.all).sorted() == Array(0..<count))
      #expect(!steady.all.isEmpty)
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// Two callers pull in opposite directions. Each call either does what it says or tells that it was overtaken.
  @Test func pausesAndResumesFromTwoSidesLoseNothing() async throws {
    try await withTestService(Ping.eventType) { service in
      let count = 1000
      let handled = Collected<Int>()
      let subscriber = instance(of: service, handled)
      try await whileConsuming(subscriber) {
        let publishing = publish(count, to: service)
        await withTaskGroup(of: [RabbitMQError.Code].self) { group in
          for isPauser in [true, false] {
            group.addTask {
              var codes: [RabbitMQError.Code] = []
              for _ in 1...20 {
                do throws(RabbitMQError) {
                  if isPauser { try await subscriber.pause() } else { try await subscriber.resume() }
                } catch {
                  codes.append(error.code)
                }
              }
              return codes
            }
          }
          for await codes in group { #expect(codes.allSatisfy { $0 == .cancelled }, "\(codes)") }
        }
        try await subscriber.resume()
        try await publishing.value
        #expect(await handled.wait(for: count, timeout: .seconds(20)) != nil)
      }
      #expect(handled.all.sorted() == Array(0..<count))
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
    }
  }

  /// A deployment under load: in each of two services one instance after the other stops, and a new one has started before.
  @Test func replacingInstancesHandlesEachEventOncePerService() async throws {
    try await withTestService(Ping.eventType) { service in
      let other = try service.sibling(Ping.eventType)
      for owner in [service, other] { try await owner.declareQueues(Ping.eventType) }
      let count = 1500
      let publishing = publish(count, to: service)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for owner in [service, other] {
          group.addTask {
            let handled = Collected<Int>()
            var current: (subscriber: Subscriber, running: Task<Void, any Error>)?
            for round in 0..<6 {
              let subscriber = instance(of: owner, handled)
              let running = Task { try await subscriber.run() }
              try await subscriber.waitUntilReady()
              if let (old, running) = current {
                old.stop()
                _ = try #require(await end(of: running, within: .seconds(20))).get()
              }
              current = (subscriber, running)
              #expect(await handled.wait(for: round * 200, timeout: .seconds(20)) != nil)
            }
            #expect(await handled.wait(for: count, timeout: .seconds(20)) != nil)
            current?.subscriber.stop()
            try await current?.running.value
            #expect(handled.all.sorted() == Array(0..<count))
            #expect(try await service.rabbit.waitForDepth(owner.workQueue(Ping.eventType), 0))
            #expect(try await service.rabbit.depth(owner.deadLetters(Ping.eventType)) == 0)
          }
        }
        try await group.waitForAll()
      }
      try await publishing.value
    }
  }

  /// One handler at a time keeps the order of the publishes, whatever was sent ahead.
  @Test func aConcurrencyOfOneKeepsTheOrder() async throws {
    try await withTestService(Ping.eventType) { service in
      let handled = Collected<Int>()
      try await whileConsuming(instance(of: service, concurrency: 1, handled)) {
        try await service.publisher.publish(contentsOf: (0..<1000).map { Ping(number: $0) })
        #expect(await handled.wait(for: 1000, timeout: .seconds(20)) == Array(0..<1000))
      }
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
    }
  }
}
