import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Pausing ends handlers in peace and gives back what has not begun; resuming goes on.
@Suite(.serialized) struct PauseTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }

  @Test func aPauseStartsNothingAndGivesTheRestToOthers() async throws {
    try await withTestService(Ping.eventType) { service in
      let queue = try service.workQueue(Ping.eventType)
      let level = Level()
      let gate = Gate()
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        $0.prefetch = 10
        $0.concurrency = 2
      } handlers: {
        On(Ping.self) { event, _ in
          level.enter()
          try await gate.pass()
          handled.add(event.number)
          level.leave()
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (1...10).map { Ping(number: $0) })
      #expect(await level.wait { $0.inside == 2 } != nil)
      let pausing = Task { try await subscriber.pause() }
      #expect(try await eventually { await subscriber.isStopping() })
      #expect(level.now.inside == 2)
      gate.open()
      try await pausing.value
      #expect(level.now.entered == 2 && level.now.left == 2)
      #expect(try await service.rabbit.waitForDepth(queue, 8))

      let others = Collected<Int>()
      let second = service.subscriber { On(Ping.self) { event, _ in others.add(event.number) } }
      try await whileConsuming(second) {
        #expect(await others.wait(for: 8) != nil)
        #expect((handled.all + others.all).sorted() == Array(1...10))
      }
      try await subscriber.resume()
      try await service.publisher.publish(Ping(number: 11))
      #expect(await handled.wait(for: 3)?.last == 11)
      // Idempotent, both.
      try await subscriber.resume()
      try await subscriber.pause()
      try await subscriber.pause()
      running.cancel()
      try await running.value
      #expect(try await service.rabbit.depth(queue) == 0)
    }
  }

  @Test func aPauseBeforeTheRunHoldsUntilTheResume() async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      try await service.publisher.publish(Ping(number: 1))
      let queue = try service.workQueue(Ping.eventType)
      let got = Collected<Int>()
      let subscriber = service.subscriber { On(Ping.self) { event, _ in got.add(event.number) } }
      // The wish stands, although who had it does not wait for it.
      let wish = Task { try await subscriber.pause() }
      wish.cancel()
      let cancelled = await #expect(throws: RabbitMQError.self) { try await wish.value }
      #expect(cancelled?.code == .cancelled)
      let running = Task { try await subscriber.run() }
      try await subscriber.pause()
      #expect(try await service.rabbit.consumers(of: queue) == 0)
      #expect(try await service.rabbit.depth(queue) == 1)
      #expect(got.all.isEmpty)
      try await subscriber.resume()
      #expect(await got.wait(for: 1) == [1])
      running.cancel()
      try await running.value
    }
  }

  @Test func pausingTwentyTimesUnderLoadLosesNothing() async throws {
    try await withTestService(Ping.eventType) { service in
      let count = 2000
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        $0.prefetch = 50
        $0.concurrency = 8
      } handlers: {
        On(Ping.self) { event, _ in
          await Task.yield()
          handled.add(event.number)
        }
      }
      try await whileConsuming(subscriber) {
        let publishing = Task {
          try await service.publisher.publish(contentsOf: (0..<count).lazy.map { Ping(number: $0) })
        }
        for round in 1...20 {
          // Some way on from the last time, so that there is load.
          _ = await handled.wait(for: min(count, round * 60))
          try await subscriber.pause()
          let atRest = handled.all.count
          _ = try await service.rabbit.depth(service.workQueue(Ping.eventType))
          #expect(handled.all.count == atRest)
          try await subscriber.resume()
        }
        _ = try await publishing.value
        #expect(await handled.wait(for: count, timeout: .seconds(30)) != nil)
      }
      // Each once: a pause in peace repeats nothing.
      #expect(handled.all.sorted() == Array(0..<count))
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// `resume()` promises consumers: while a pause is still waiting for handlers there are none.
  @Test func aResumeDuringAPauseReturnsWhenItConsumes() async throws {
    try await withTestService(Ping.eventType) { service in
      let queue = try service.workQueue(Ping.eventType)
      let gate = Gate()
      let begun = Collected<Int>()
      let subscriber = service.subscriber {
        On(Ping.self) { event, _ in
          begun.add(event.number)
          try await gate.pass()
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(Ping(number: 1))
      #expect(await begun.wait(for: 1) != nil)
      let pausing = Task { try await subscriber.pause() }
      #expect(try await eventually { await subscriber.isStopping() })
      let resumed = Collected<Int>()
      let resuming = Task {
        try await subscriber.resume()
        resumed.add(try await service.rabbit.consumers(of: queue))
      }
      // The pause is not waited for any longer, and its caller hears that it was overtaken.
      let overtaken = await #expect(throws: RabbitMQError.self) { try await pausing.value }
      #expect(overtaken?.message.contains("the opposite was asked for meanwhile") == true)
      #expect(resumed.all.isEmpty)
      gate.open()
      try await resuming.value
      #expect(resumed.all == [1])
      running.cancel()
      try await running.value
    }
  }
}
