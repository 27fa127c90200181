import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Both connections of a client break at once: publishing and consuming go on by themselves.
@Suite(.serialized, .timeLimit(.minutes(1))) struct LostConnectionTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }

  private func withProxiedBroker(
    _ change: (inout RabbitMQConfiguration) -> Void = { _ in },
    _ body: (RabbitMQ, FaultProxy) async throws -> Void
  ) async throws {
    let proxy = try FaultProxy(to: try #require(TestBroker.configuration.hosts.first).port)
    defer { proxy.close() }
    try await withTestBroker({
      $0.hosts = [.init("127.0.0.1", port: proxy.port)]
      change(&$0)
    }) { rabbit, _ in try await body(rabbit, proxy) }
  }

  /// Six are acknowledged before, four are at work, the others wait. The six never come again; the four are delivered again
  /// and not handled again, because their handlers still ran; the others are handled once.
  @Test func consumingGoesOnAndWhatIsAtWorkIsNotDoneTwice() async throws {
    try await withTestService(Ping.eventType) { service in
      try await withProxiedBroker { broker, proxy in
        let begun = Collected<Int>()
        let gate = Gate()
        let caught = LogCatcher()
        let subscriber = service.subscriber(on: broker, logger: caught.logger) {
          $0.prefetch = 12
          $0.concurrency = 4
        } handlers: {
          On(Ping.self) { event, _ in
            begun.add(event.number)
            if event.number >= 6 { try await gate.pass() }
          }
        }
        try await whileConsuming(subscriber) {
          try await service.publisher.publish(contentsOf: (0..<6).map { Ping(number: $0) })
          #expect(await begun.wait(for: 6) != nil)
          // The channel is closed after the acknowledgements: the broker has them.
          try await subscriber.pause()
          try await subscriber.resume()
          try await service.publisher.publish(contentsOf: (6..<30).map { Ping(number: $0) })
          #expect(await begun.wait(for: 10) != nil)
          proxy.cut()
          #expect(await caught.wait(for: "consuming again", timeout: .seconds(20)))
          // Only as many as the concurrency allows, the four that wait for the gate among them.
          #expect(begun.all.count == 10)
          gate.open()
          #expect(await begun.wait(for: 30, timeout: .seconds(20)) != nil)
        }
        #expect(begun.all.sorted() == Array(0..<30))
      }
      #expect(try await service.rabbit.waitForDepth(service.workQueue(Ping.eventType), 0))
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// The confirm stays away, the cut comes: it is written again with the same id, oldest first, and then confirmed.
  @Test func whatIsNotConfirmedIsWrittenAgain() async throws {
    try await withTestBroker { direct, litter in
      let type = try litter.type()
      let queue = try await direct.sink(type, litter)
      try await withProxiedBroker({ $0.publishing.window = 50 }) { rabbit, proxy in
        let publisher = Publisher(rabbit, source: "tests")
        #expect(await publisher.publish(encoded: [.init(type, "first".utf8)]) == [.confirmed])
        proxy.behave { $0.holdsDown = true }
        let sent = proxy.forwarded.up
        let events = (0..<200).map { EncodedEvent(type, "\($0)".utf8) }
        async let outcomes = publisher.publish(encoded: events)
        #expect(try await eventually { proxy.forwarded.up > sent })
        proxy.behave { $0.holdsDown = false }
        proxy.cut()
        #expect(await outcomes.allSatisfy(\.isConfirmed))
        #expect(rabbit.publishing.status.value.epoch == 2)
        let depth = try await direct.depth(queue)
        let got = try await foreign { try $0.take(queue, depth) }
        var seen: Set<String> = []
        let firstSights = got.dropFirst().compactMap(\.messageID).filter { seen.insert($0).inserted }
        #expect(firstSights == events.compactMap(\.metadata.id?.text))
      }
    }
  }

  /// What waits for a connection ends by its deadline, not before and not after, and says why there was none.
  @Test func aDeadlineWithoutAConnectionSaysWhy() async throws {
    try await withTestBroker { direct, litter in
      let type = try litter.type()
      _ = try await direct.sink(type, litter)
      try await withProxiedBroker({ $0.publishing.timeout = .seconds(2) }) { rabbit, proxy in
        let publisher = Publisher(rabbit, source: "tests")
        #expect(await publisher.publish(encoded: [.init(type, "first".utf8)]) == [.confirmed])
        proxy.behave { $0.refuses = true }
        proxy.cut()
        #expect(await rabbit.publishing.status.wait(timeout: .seconds(5)) { !$0.isOpen } != nil)
        let took = try await elapsed {
          let thrown = await error(PublishError.self) { try await publisher.publish(Numbered(type, 1)) }
          #expect(thrown?.code == .notPublished)
          #expect(thrown?.message.contains("127.0.0.1:\(proxy.port)") == true, "\(thrown?.message ?? "")")
        }
        #expect(took > .milliseconds(1900) && took < .seconds(6), "\(took)")
        #expect(rabbit.health.status == .degraded)
        #expect(rabbit.health.reasons.count == 2)
        proxy.behave { $0.refuses = false }
        try await rabbit.waitUntilConnected(timeout: .seconds(20))
        #expect(await publisher.publish(encoded: [.init(type, "last".utf8)]) == [.confirmed])
        #expect(rabbit.health.status == .ready)
      }
    }
  }

  /// A broker may start after its services: starting is not unhealthy, and everything begins when it is there.
  @Test func servicesMayStartBeforeTheirBroker() async throws {
    try await withTestService(Ping.eventType) { service in
      let proxy = try FaultProxy(to: try #require(TestBroker.configuration.hosts.first).port)
      defer { proxy.close() }
      proxy.behave { $0.refuses = true }
      var configuration = try TestBroker.configuration
      configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
      let broker = try RabbitMQ(configuration)
      #expect(broker.health.status == .starting && broker.health.isLive && !broker.health.isReady)
      let got = Collected<Int>()
      let subscriber = service.subscriber(on: broker) { On(Ping.self) { event, _ in got.add(event.number) } }
      let connection = Task { try await broker.run() }
      let running = Task { try await subscriber.run() }
      let publish = Task { try await Publisher(broker, source: "tests").publish(Ping(number: 1)) }
      let tooEarly = await error(RabbitMQError.self) {
        try await subscriber.waitUntilReady(timeout: .milliseconds(1500))
      }
      #expect(tooEarly?.message.contains("127.0.0.1:\(proxy.port)") == true, "\(tooEarly?.message ?? "")")
      #expect(broker.health.status == .starting)
      proxy.behave { $0.refuses = false }
      try await subscriber.waitUntilReady(timeout: .seconds(20))
      try await broker.waitUntilConnected(timeout: .seconds(20))
      #expect(broker.health.isReady)
      // Published before the queue was there, it may have been unroutable; the next one is not.
      _ = await publish.result
      try await Publisher(broker, source: "tests").publish(Ping(number: 2))
      #expect(await got.wait(for: 1)?.contains(2) == true || got.all.contains(1))
      running.cancel()
      try await running.value
      connection.cancel()
      try await connection.value
      #expect(broker.health.status == .ended && !broker.health.isLive)
    }
  }

  @Test func aStartThatFailsFastThrowsAndTellsTheSubscriber() async throws {
    try await withTestService(Ping.eventType) { service in
      let proxy = try FaultProxy(to: try #require(TestBroker.configuration.hosts.first).port)
      defer { proxy.close() }
      proxy.behave { $0.refuses = true }
      var configuration = try TestBroker.configuration
      configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
      configuration.startup = .failFast
      let broker = try RabbitMQ(configuration)
      let subscriber = service.subscriber(on: broker) { On(Ping.self) { _, _ in } }
      let waiting = Task { try await subscriber.waitUntilReady(timeout: .seconds(50)) }
      let connection = Task { try await broker.run() }
      let running = Task { try await subscriber.run() }
      let thrown = await error(RabbitMQError.self) { try await running.value }
      let waited = await error(RabbitMQError.self) { try await waiting.value }
      #expect(thrown != nil && waited?.code == thrown?.code && waited?.message == thrown?.message)
      #expect(thrown?.isRetryable == true)
      let ofConnection = await error(RabbitMQError.self) { try await connection.value }
      #expect(ofConnection?.code == .connectFailed)
    }
  }
}
