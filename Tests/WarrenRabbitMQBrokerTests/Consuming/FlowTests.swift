import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// How many deliveries and handlers are under way at once.
@Suite(.serialized) struct FlowTests {
  @Test func neverMoreHandlersThanTheConcurrencyNorDeliveriesThanThePrefetch() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let level = Level()
      let gate = Gate()
      let subscriber = service.subscriber {
        $0.prefetch = 10
        $0.concurrency = 3
      } handlers: {
        On(Ping.self) { _, _ in
          level.enter()
          defer { level.leave() }
          try await gate.pass()
          await Task.yield()
        }
      }
      let queue = try service.workQueue(Ping.eventType)
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (0..<40).map { Ping(number: $0) })
        #expect(await level.wait { $0.inside == 3 } != nil)
        // The first delivery comes beside the prefetch.
        #expect(try await service.rabbit.waitForDepth(queue, 29))
        for _ in 0..<5 { #expect(try await service.rabbit.depth(queue) == 29) }
        #expect(level.now.entered == 3)
        gate.open()
        let after = try #require(await level.wait { $0.left == 40 })
        #expect(after.highest == 3)
        #expect(try await service.rabbit.waitForDepth(queue, 0))
      }
    }
  }

  @Test func aQueueMayHaveLimitsOfItsOwn() async throws {
    struct Wide: Event {
      static let eventType = freshType("wide")
      var number: Int
    }
    struct Narrow: Event {
      static let eventType = freshType("narrow")
      var number: Int
    }
    try await withTestService(Wide.eventType, Narrow.eventType) { service in
      let wide = Level()
      let narrow = Level()
      let gate = Gate()
      let subscriber = service.subscriber {
        $0.prefetch = 8
        $0.concurrency = 4
      } handlers: {
        On(Wide.self) { _, _ in
          wide.enter()
          defer { wide.leave() }
          try await gate.pass()
        }
        On(Narrow.self, queue: .init(prefetch: 2, concurrency: 1)) { _, _ in
          narrow.enter()
          defer { narrow.leave() }
          try await gate.pass()
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (0..<10).map { Wide(number: $0) })
        try await service.publisher.publish(contentsOf: (0..<10).map { Narrow(number: $0) })
        #expect(await wide.wait { $0.inside == 4 } != nil)
        #expect(await narrow.wait { $0.inside == 1 } != nil)
        // The first delivery of each comes beside the prefetch.
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Wide.eventType), 1))
        #expect(try await service.rabbit.waitForDepth(service.workQueue(Narrow.eventType), 7))
        gate.open()
        #expect(try #require(await wide.wait { $0.left == 10 }).highest == 4)
        #expect(try #require(await narrow.wait { $0.left == 10 }).highest == 1)
      }
    }
  }

  /// One handler stands while 150 others pass through a window of 10: their acknowledgements do not wait for it, and none
  /// of them covers it.
  @Test func aSlowHandlerHoldsBackOnlyItsOwnEvent() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let gate = Gate()
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        $0.prefetch = 10
        $0.concurrency = 2
      } handlers: {
        On(Ping.self) { event, _ in
          if event.number == 0 { try await gate.pass() }
          handled.add(event.number)
        }
      }
      let queue = try service.workQueue(Ping.eventType)
      try await withSubscriber(subscriber) {
        try await service.publisher.publish(contentsOf: (0...150).map { Ping(number: $0) })
        #expect(await handled.wait(for: 150) == Array(1...150))
      }
      // The slow one comes back, and perhaps the last one, whose handler had not returned when it was cancelled.
      let back = Collected<Int>()
      let second = service.subscriber {
        $0.concurrency = 1
      } handlers: {
        On(Ping.self) { event, context in
          back.add(event.number)
          #expect(context.delivery.isRedelivered == (event.number != 1000))
        }
      }
      try await whileConsuming(second) {
        try await service.publisher.publish(Ping(number: 1000))
        #expect(try await eventually { back.all.contains(1000) })
      }
      #expect(back.all.filter { $0 != 150 } == [0, 1000])
      #expect(try await service.rabbit.depth(queue) == 0)
    }
  }

  @Test func aPrefetchOfOneHandlesOneByOneInOrder() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let level = Level()
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        $0.prefetch = 1
      } handlers: {
        On(Ping.self) { event, _ in
          level.enter()
          await Task.yield()
          handled.add(event.number)
          level.leave()
        }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: (0..<60).map { Ping(number: $0) })
        #expect(await handled.wait(for: 60) == Array(0..<60))
      }
      #expect(level.now.highest == 1)
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 0))
    }
  }

  @Test func tenThousandEventsAreEachHandledAndAcknowledgedOnce() async throws {
    struct Ping: Event {
      static let eventType = freshType("ping")
      var number: Int
    }
    try await withTestService(Ping.eventType) { service in
      let count = 10_000
      let seen = Lock(Array(repeating: 0, count: count))
      let level = Level()
      let subscriber = service.subscriber {
        On(Ping.self) { event, context in
          level.enter()
          if event.number % 7 == 0 { await Task.yield() }
          seen.withLock { $0[event.number] += context.delivery.isRedelivered ? 100 : 1 }
          level.leave()
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (0..<count).lazy.map { Ping(number: $0) })
      let last = await level.wait(timeout: .seconds(60)) { $0.left == count }
      #expect(last != nil)
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 0))
      // The last handlers have done their work, and may not have returned: a pause waits for them and acknowledges, a
      // cancellation gives their events back.
      try await subscriber.pause()
      running.cancel()
      // A channel that the broker had closed (406 for a tag twice) would be thrown here.
      try await running.value
      #expect(seen.withLock { $0.allSatisfy { $0 == 1 } })
      #expect(level.now.highest <= 16)
      // Nothing came back when the channel closed, so all were acknowledged.
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }
}
