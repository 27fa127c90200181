import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Both connections of a client break at once: everything that runs over them ends with a reason, and the events go on.
@Suite(.serialized, .timeLimit(.minutes(1))) struct LostConnectionTests {
  private struct Ping: Event {
    static let eventType = freshType("ping")
    var number: Int
  }
  private struct Seen: Sendable {
    var number: Int
    var isRedelivered: Bool
  }

  private func proxied(_ proxy: FaultProxy) throws -> RabbitMQ {
    var configuration = try TestBroker.configuration
    configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
    return try RabbitMQ(configuration)
  }

  private func failure(of running: Task<Void, any Error>) async throws -> RabbitMQError {
    let ended = try #require(await end(of: running, within: .seconds(20)))
    return try #require(throws: RabbitMQError.self) { try ended.get() }
  }

  /// Six are acknowledged before, four are at work, the others wait: the six never come again, and the four say that they do.
  @Test func bothRunsEndAndWhatIsUnfinishedComesAgain() async throws {
    try await withTestService(Ping.eventType) { service in
      let proxy = try FaultProxy(to: try #require(TestBroker.configuration.hosts.first).port)
      defer { proxy.close() }
      let broker = try proxied(proxy)
      let connection = Task { try await broker.run() }
      try await broker.waitUntilConnected()
      let begun = Collected<Int>()
      let gate = Gate()
      let subscriber = service.subscriber(on: broker) {
        $0.prefetch = 12
        $0.concurrency = 4
        $0.gracePeriod = .zero
      } handlers: {
        On(Ping.self) { event, _ in
          begun.add(event.number)
          if event.number >= 6 { try await gate.pass() }
        }
      }
      let running = Task { try await subscriber.run() }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(contentsOf: (0..<6).map { Ping(number: $0) })
      #expect(await begun.wait(for: 6) != nil)
      // The channel is closed after the acknowledgements: the broker has them.
      try await subscriber.pause()
      try await subscriber.resume()
      try await service.publisher.publish(contentsOf: (6..<30).map { Ping(number: $0) })
      let atWork = Set(try #require(await begun.wait(for: 10)).dropFirst(6))

      proxy.cut()
      let ofSubscriber = try await failure(of: running)
      let ofConnection = try await failure(of: connection)
      #expect(ofSubscriber.code == .connectionLost && ofSubscriber.isRetryable)
      #expect(ofConnection.code == .connectionLost && ofConnection.isRetryable)
      let publish = await #expect(throws: PublishError.self) {
        try await Publisher(broker, source: "tests").publish(Ping(number: 99))
      }
      #expect(publish?.isRetryable == true && publish?.mayHaveBeenPublished == false)

      let again = Collected<Seen>()
      let second = service.subscriber {
        On(Ping.self) { event, context in
          again.add(Seen(number: event.number, isRedelivered: context.delivery.isRedelivered))
        }
      }
      try await whileConsuming(second) { #expect(await again.wait(for: 24, timeout: .seconds(20)) != nil) }
      #expect(again.all.map(\.number).sorted() == Array(6..<30))
      #expect(atWork.count == 4)
      #expect(atWork.isSubset(of: again.all.filter(\.isRedelivered).map(\.number)))
      #expect(try await service.rabbit.depth(service.workQueue(Ping.eventType)) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters(Ping.eventType)) == 0)
    }
  }

  /// Who waits from before the start hears why there never will be one.
  @Test func waitingForReadinessHearsThatThereIsNoConnection() async throws {
    try await withTestService(Ping.eventType) { service in
      let proxy = try FaultProxy(to: try #require(TestBroker.configuration.hosts.first).port)
      defer { proxy.close() }
      proxy.behave { $0.refuses = true }
      let broker = try proxied(proxy)
      let subscriber = service.subscriber(on: broker) { On(Ping.self) { _, _ in } }
      let waiting = Task { try await subscriber.waitUntilReady(timeout: .seconds(50)) }
      let connection = Task { try await broker.run() }
      let running = Task { try await subscriber.run() }
      let thrown = try await failure(of: running)
      let waited = try await failure(of: waiting)
      #expect(waited.code == thrown.code && waited.message == thrown.message)
      #expect(thrown.isRetryable)
      let ofConnection = try await failure(of: connection)
      #expect(ofConnection.isRetryable)
      #expect(proxy.accepted > 0)
    }
  }
}
