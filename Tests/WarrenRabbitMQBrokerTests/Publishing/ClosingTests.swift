import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// How a broker connection ends from our side, and what becomes of publishes around that moment.
struct ClosingTests {
  @Test func runEndsWhenItIsCancelledAndLaterPublishesSaySo() async throws {
    try await withTestBroker { direct, litter in
      let type = try litter.type()
      let queue = try await direct.sink(type, litter)
      let rabbit = try RabbitMQ(TestBroker.configuration)
      let running = Task { try await rabbit.run() }
      try await rabbit.waitUntilConnected()
      let publisher = Publisher(rabbit, source: "tests")
      try await publisher.publish(Numbered(type, 1))
      let took = try await elapsed {
        running.cancel()
        try await running.value
        let thrown = try #require(await error(PublishError.self) { try await publisher.publish(Numbered(type, 2)) })
        #expect(thrown.code == .notPublished)
        #expect(thrown.message.contains("closed"))
        let outcomes = await publisher.publish(encoded: (0..<100).map { .init(type, "\($0)".utf8) })
        #expect(outcomes.allSatisfy { $0.kind == "notPublished" })
        // A type that is not known yet has to be declared, which cannot be either.
        let fresh = await publisher.publish(encoded: [.init(try litter.type(), [1])])
        #expect(fresh.map(\.kind) == ["notPublished"])
      }
      #expect(took < .seconds(8), "\(took)")
      #expect(try await direct.depth(queue) == 1)
    }
  }

  @Test func runEndsWhenItIsCancelledBeforeItIsConnected() async throws {
    try await LoopbackServer.withServer(saying: nil) { port in
      var configuration = try TestBroker.configuration
      configuration.hosts = [.init("127.0.0.1", port: port)]
      configuration.connectTimeout = .seconds(2)
      let rabbit = try RabbitMQ(configuration)
      let took = try await elapsed {
        let running = Task { try await rabbit.run() }
        await Task.yield()
        running.cancel()
        _ = await running.result
      }
      #expect(took < .seconds(8), "\(took)")
    }
  }

  /// One call and one batch are written and wait for their confirms when `run()` is told to end.
  @Test func runWaitsForPublishesThatAreUnderWay() async throws {
    try await withTestBroker { direct, litter in
      let type = try litter.type()
      let queue = try await direct.sink(type, litter)
      try await withTap { tap in
        var configuration = try TestBroker.configuration
        configuration.go(through: tap)
        configuration.publishing.window = 100
        let rabbit = try RabbitMQ(configuration)
        let running = Task { try await rabbit.run() }
        try await rabbit.waitUntilConnected(timeout: .seconds(20))
        let publisher = Publisher(rabbit, source: "tests")
        try await publisher.publish(Numbered(type, 0))
        tap.hold()
        let single = Task { try await publisher.publish(Numbered(type, 1)) }
        let batch = Task { try await publisher.publish(contentsOf: (2..<1000).map { Numbered(type, $0) }) }
        // The window is full: most of the batch is still to be written.
        #expect(await tap.waitForPublishes(101))
        running.cancel()
        tap.release()
        _ = try await single.value
        #expect(try await batch.value.count == 998)
        try await running.value
        #expect(try await direct.depth(queue) == 1000)
      }
    }
  }
}
