import BrokerFixture
import Foundation
import Logging
import ServiceLifecycle
import Testing
import Warren

@testable import WarrenRabbitMQ

/// The end of a subscriber that was asked for: handlers end in peace as long as the grace lasts, and nothing is
/// acknowledged that was not handled.
@Suite(.serialized) struct ShutdownTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }

  private let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }

  /// A broker and a subscriber of `service` in a `ServiceGroup` of their own, as an application has them.
  private func group(
    _ service: TestService, _ change: (inout Subscriber.Options) -> Void = { _ in },
    handle: @escaping @Sendable (Ping, HandlerContext) async throws -> Void
  ) throws -> (group: ServiceGroup, subscriber: Subscriber) {
    let rabbit = try RabbitMQ(TestBroker.configuration)
    let subscriber = service.subscriber(on: rabbit, change) { On(Ping.self, handle: handle) }
    return (ServiceGroup(services: [rabbit, subscriber], logger: silent), subscriber)
  }

  @Test func aGracefulShutdownUnderLoadKeepsTheCounts() async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      let count = 1500
      try await service.publisher.publish(contentsOf: (0..<count).lazy.map { Ping(number: $0) })
      let handled = Collected<Int>()
      let (group, _) = try group(service) {
        $0.prefetch = 100
        $0.concurrency = 8
      } handle: { event, _ in
        await Task.yield()
        handled.add(event.number)
      }
      let running = Task { try await group.run() }
      #expect(await handled.wait(for: 300) != nil)
      await group.triggerGracefulShutdown()
      _ = try #require(await end(of: running, within: .seconds(10))).get()

      let done = handled.all
      #expect(done.count < count)
      #expect(Set(done).count == done.count)
      let queue = try service.workQueue(Ping.eventType)
      #expect(try await service.rabbit.waitForDepth(queue, count - done.count))
      let rest = try await service.rabbit.take(from: queue, count: count - done.count, timeout: .seconds(20))
      let numbers = try rest.map { try Ping.decoded(type: Ping.eventType, body: $0.body).number }
      #expect((done + numbers).sorted() == Array(0..<count))
    }
  }

  @Test func handlersThatRunEndInPeaceAndAreAcknowledged() async throws {
    try await withTestService(Ping.eventType) { service in
      let level = Level()
      let gate = Gate()
      let (group, subscriber) = try group(service) {
        $0.concurrency = 2
      } handle: { _, _ in
        level.enter()
        try await gate.pass()
        level.leave()
      }
      let running = Task { try await group.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (1...3).map { Ping(number: $0) })
      #expect(await level.wait { $0.inside == 2 } != nil)
      await group.triggerGracefulShutdown()
      #expect(try await eventually { await subscriber.isStopping() })
      let queue = try service.workQueue(Ping.eventType)
      #expect(level.now.inside == 2)
      gate.open()
      _ = try #require(await end(of: running, within: .seconds(10))).get()
      #expect(level.now.left == 2)
      #expect(try await service.rabbit.take(from: queue)[0].text == #"{"number":3}"#)
      #expect(try await service.rabbit.waitForDepth(queue, 0))
      let late = await #expect(throws: RabbitMQError.self) { try await subscriber.waitUntilReady() }
      #expect(late?.code == .connectionClosed)
    }
  }

  /// Both kinds: one that ends when it is cancelled, and one that does not hear of it.
  @Test(arguments: [true, false]) func theGracePeriodIsTheLimit(listens: Bool) async throws {
    try await withTestService(Ping.eventType) { service in
      let begun = Collected<Int>()
      let gate = Gate()
      let (group, subscriber) = try group(service) {
        $0.gracePeriod = .milliseconds(200)
      } handle: { event, _ in
        begun.add(event.number)
        if listens { try await gate.pass() } else { await gate.passWhateverHappens() }
      }
      let running = Task { try await group.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(Ping(number: 1))
      #expect(await begun.wait(for: 1) != nil)
      await group.triggerGracefulShutdown()
      _ = try #require(await end(of: running, within: .seconds(10))).get()
      let queue = try service.workQueue(Ping.eventType)
      let back = try await service.rabbit.look(at: queue)
      #expect(back[0].isRedelivered)
      // It returns after all: too late to be acknowledged.
      gate.open()
      #expect(try await service.rabbit.waitForDepth(queue, 1))
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// The grace is 30 s by default, a cancellation ends it: a process that must go now does not wait for a handler.
  @Test func aCancellationEndsTheGrace() async throws {
    try await withTestService(Ping.eventType) { service in
      let begun = Collected<Int>()
      let gate = Gate()
      let (group, subscriber) = try group(service) { event, _ in
        begun.add(event.number)
        try await gate.pass()
      }
      let running = Task { try await group.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(Ping(number: 1))
      #expect(await begun.wait(for: 1) != nil)
      await group.triggerGracefulShutdown()
      #expect(try await eventually { await subscriber.isStopping() })
      let queue = try service.workQueue(Ping.eventType)
      running.cancel()
      #expect(await end(of: running, within: .seconds(10)) != nil)
      #expect(try await service.rabbit.look(at: queue)[0].isRedelivered)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  @Test func aShutdownWhilePausedEndsTheRun() async throws {
    try await withTestService(Ping.eventType) { service in
      let (group, subscriber) = try group(service) { _, _ in }
      let running = Task { try await group.run() }
      try await subscriber.waitUntilReady()
      try await subscriber.pause()
      await group.triggerGracefulShutdown()
      _ = try #require(await end(of: running, within: .seconds(10))).get()
      let late = await #expect(throws: RabbitMQError.self) { try await subscriber.resume() }
      #expect(late?.code == .connectionClosed)
    }
  }

  /// Cancelled at any moment of the start: `run()` ends without an error, and what it has begun on the broker is gone.
  @Test func aCancelledStartLeavesNothingBehind() async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      let queue = try service.workQueue(Ping.eventType)
      try await withSecondBroker({ $0.channelMax = 8 }) { broker in
        for round in 0..<60 {
          let subscriber = service.subscriber(on: broker) { On(Ping.self) { _, _ in } }
          let running = Task { try await subscriber.run() }
          for _ in 0..<(round * 3) { await Task.yield() }
          running.cancel()
          _ = try #require(await end(of: running, within: .seconds(10))).get()
        }
        #expect(try await eventually { try await service.rabbit.consumers(of: queue) == 0 })
        let got = Collected<Int>()
        let subscriber = service.subscriber(on: broker) { On(Ping.self) { event, _ in got.add(event.number) } }
        try await whileConsuming(subscriber) {
          try await service.publisher.publish(Ping(number: 1))
          #expect(await got.wait(for: 1) == [1])
        }
      }
    }
  }

  /// The broker's answer to the opening of a channel is held back while the subscriber is cancelled: the channel that opens
  /// nevertheless is closed again. Three are all that this connection may have.
  @Test func aChannelThatOpensTooLateIsClosed() async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      let port = try #require(try TestBroker.configuration.hosts.first).port
      let proxy = try FaultProxy(to: port)
      defer { proxy.close() }
      try await withSecondBroker {
        $0.hosts = [.init("127.0.0.1", port: proxy.port)]
        $0.topology = .assume
        $0.channelMax = 3
      } _: { broker in
        for _ in 0..<4 {
          proxy.behave { $0.holdsDown = true }
          let before = proxy.forwarded.up
          let subscriber = service.subscriber(on: broker) { On(Ping.self) { _, _ in } }
          let running = Task { try await subscriber.run() }
          #expect(try await eventually { proxy.forwarded.up > before })
          running.cancel()
          _ = try #require(await end(of: running, within: .seconds(10))).get()
          // The answer arrives, and the subscriber's own answer to it leaves.
          let (up, down) = proxy.forwarded
          proxy.behave { $0.holdsDown = false }
          #expect(try await eventually { proxy.forwarded.down > down && proxy.forwarded.up > up })
        }
        let got = Collected<Int>()
        let subscriber = service.subscriber(on: broker) { On(Ping.self) { event, _ in got.add(event.number) } }
        try await whileConsuming(subscriber) {
          try await service.publisher.publish(Ping(number: 1))
          #expect(await got.wait(for: 1) == [1])
        }
      }
    }
  }
}
