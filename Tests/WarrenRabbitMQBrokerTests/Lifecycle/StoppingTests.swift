import BrokerFixture
import Foundation
import Logging
import ServiceLifecycle
import Testing
import Warren

@testable import WarrenRabbitMQ

/// A service stops in the middle of its work: every event is in exactly one place afterwards.
@Suite(.serialized, .timeLimit(.minutes(1))) struct StoppingTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }
  private struct Seen: Sendable {
    var number: Int
    var isRedelivered: Bool
  }

  private func numbers(in queue: String, _ count: Int, of service: TestService) async throws -> [Int] {
    guard count > 0 else { return [] }
    return try await service.rabbit.take(from: queue, count: count, timeout: .seconds(20)).map {
      try Ping.decoded(type: Ping.eventType, body: $0.body).number
    }
  }

  /// Every tenth handler throws, and the publishing goes on while the service stops.
  @Test func aGracefulShutdownWhileOthersPublishKeepsEveryEventInOnePlace() async throws {
    try await withTestService(Ping.eventType) { service in
      try await service.declareQueues(Ping.eventType)
      let count = 1200
      let handled = Collected<Int>()
      let broker = try RabbitMQ(TestBroker.configuration)
      let subscriber = service.subscriber(on: broker) {
        $0.prefetch = 40
        $0.concurrency = 8
        $0.gracePeriod = .seconds(20)
      } handlers: {
        On(Ping.self) { event, _ in
          await Task.yield()
          if event.number.isMultiple(of: 10) { throw Refusal("the tenth") }
          handled.add(event.number)
        }
      }
      let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
      let group = ServiceGroup(services: [broker, subscriber], logger: silent)
      let running = Task { try await group.run() }
      let publishing = Task {
        try await service.publisher.publish(contentsOf: (0..<count).lazy.map { Ping(number: $0) })
      }
      #expect(await handled.wait(for: 100, timeout: .seconds(20)) != nil)
      await group.triggerGracefulShutdown()
      _ = try #require(await end(of: running, within: .seconds(20))).get()
      let done = handled.all
      _ = try await publishing.value

      let queue = try service.workQueue(Ping.eventType)
      let deadLetters = try service.deadLetters(Ping.eventType)
      // What the closed channel gave back may take a moment to be ready.
      let settled = try await eventually(timeout: .seconds(20)) {
        try await service.rabbit.depth(queue) + service.rabbit.depth(deadLetters) + done.count >= count
      }
      #expect(settled)
      let rest = try await numbers(in: queue, service.rabbit.depth(queue), of: service)
      let dead = try await numbers(in: deadLetters, service.rabbit.depth(deadLetters), of: service)
      #expect(!dead.isEmpty && dead.allSatisfy { $0.isMultiple(of: 10) })
      #expect((done + rest + dead).sorted() == Array(0..<count), "at rest \(rest.prefix(12)), dead \(dead)")
      #expect(handled.all.count == done.count)
    }
  }

  /// Cancelled handlers end in different ways; none of them is a success or a failure, so all come again.
  @Test func aCancelledRunGivesBackWhatItsHandlersHadBegun() async throws {
    try await withTestService(Ping.eventType) { service in
      let begun = Collected<Int>()
      let gate = Gate()
      let subscriber = service.subscriber {
        $0.prefetch = 20
        $0.concurrency = 6
      } handlers: {
        On(Ping.self) { event, _ in
          begun.add(event.number)
          switch event.number % 3 {
          case 0: try await gate.pass()
          case 1: try? await gate.pass()
          default:
            do { try await gate.pass() } catch { throw Refusal("stopped in the middle") }
          }
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (0..<30).map { Ping(number: $0) })
      let atWork = Set(try #require(await begun.wait(for: 6)))
      running.cancel()
      _ = try #require(await end(of: running, within: .seconds(20))).get()
      #expect(begun.all.count == 6)
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 30))

      let again = Collected<Seen>()
      let second = service.subscriber {
        On(Ping.self) { event, context in
          again.add(Seen(number: event.number, isRedelivered: context.delivery.isRedelivered))
        }
      }
      try await whileConsuming(second) { #expect(await again.wait(for: 30, timeout: .seconds(20)) != nil) }
      #expect(again.all.map(\.number).sorted() == Array(0..<30))
      #expect(atWork.isSubset(of: again.all.filter(\.isRedelivered).map(\.number)))
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// Four handlers run. Two hear of nothing and still run when another instance has their events; two finish within the
  /// grace, and are acknowledged although the others never end.
  @Test func stubbornHandlersHoldUpNeitherTheEndNorTheOthers() async throws {
    try await withTestService(Ping.eventType) { service in
      let begun = Collected<Int>()
      let left = Collected<Int>()
      let gentle = Gate()
      let stubborn = Gate()
      defer { stubborn.open() }
      let subscriber = service.subscriber {
        $0.concurrency = 4
        $0.gracePeriod = .milliseconds(200)
      } handlers: {
        On(Ping.self) { event, _ in
          begun.add(event.number)
          if event.number < 2 { await stubborn.passWhateverHappens() } else { await gentle.passWhateverHappens() }
          left.add(event.number)
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (0..<4).map { Ping(number: $0) })
      #expect(await begun.wait(for: 4) != nil)
      gentle.open()
      #expect(await left.wait(for: 2)?.sorted() == [2, 3])
      subscriber.stop()
      _ = try #require(await end(of: running, within: .seconds(20))).get()
      #expect(left.all.count == 2)

      let again = Collected<Seen>()
      let second = service.subscriber {
        On(Ping.self) { event, context in
          again.add(Seen(number: event.number, isRedelivered: context.delivery.isRedelivered))
        }
      }
      try await whileConsuming(second) {
        #expect(await again.wait(for: 2) != nil)
        // They return after all: too late to be acknowledged a second time, which would close the channel.
        stubborn.open()
        #expect(await left.wait(for: 4) != nil)
        try await service.publisher.publish(Ping(number: 4))
        #expect(await again.wait(for: 3) != nil)
      }
      #expect(again.all.map(\.number).sorted() == [0, 1, 4])
      #expect(again.all.filter(\.isRedelivered).map(\.number).sorted() == [0, 1])
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
    }
  }
}
