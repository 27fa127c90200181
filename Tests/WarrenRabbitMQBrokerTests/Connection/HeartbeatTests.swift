import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

struct HeartbeatTests {
  @Test func anIdleConnectionOutlivesThreeHeartbeats() async throws {
    try await withTestBroker({ $0.heartbeat = .seconds(1) }) { rabbit, litter in
      let type = try litter.type()
      let ended = await rabbit.publishing.status.wait(timeout: .milliseconds(3500)) {
        if case .ended = $0.phase { true } else { false }
      }
      #expect(ended == nil)
      var options = Publisher.Options()
      options.unroutable = .accept
      let event = EncodedEvent(metadata: EventMetadata(type: type), body: Data("{}".utf8))
      #expect(await Publisher(rabbit, source: "tests", options: options).publish(encoded: [event]) == [.confirmed])
    }
  }

  /// Nothing tells that the other side is gone: only that nothing comes.
  @Test func aHalfOpenConnectionIsNoticedWithinTwoHeartbeats() async throws {
    var configuration = try TestBroker.configuration
    let proxy = try FaultProxy(to: configuration.hosts[0].port)
    defer { proxy.close() }
    configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
    configuration.heartbeat = .seconds(1)
    let rabbit = try RabbitMQ(configuration)
    let running = Task { try await rabbit.run() }
    try await rabbit.waitUntilConnected()

    let start = ContinuousClock.now
    proxy.behave { ($0.holdsUp, $0.holdsDown) = (true, true) }
    let error = await #expect(throws: RabbitMQError.self) { try await running.value }
    let elapsed = ContinuousClock.now - start
    #expect(error?.code == .connectionLost)
    #expect(elapsed >= .milliseconds(900) && elapsed < .milliseconds(3500))
  }

  @Test func aCutConnectionEndsWhatIsPending() async throws {
    var configuration = try TestBroker.configuration
    let proxy = try FaultProxy(to: configuration.hosts[0].port)
    defer { proxy.close() }
    configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
    let rabbit = try RabbitMQ(configuration)
    let running = Task { try await rabbit.run() }
    try await rabbit.waitUntilConnected()
    let type = try EventType(unique("cut"))
    var options = Publisher.Options()
    options.unroutable = .accept
    let publisher = Publisher(rabbit, source: "tests", options: options)
    let event = EncodedEvent(metadata: EventMetadata(type: type), body: Data("{}".utf8))
    #expect(await publisher.publish(encoded: [event]) == [.confirmed])

    // The confirm stays away, the cut comes.
    proxy.behave { $0.holdsDown = true }
    let sent = proxy.forwarded.up
    async let outcome = publisher.publish(encoded: [event])
    #expect(try await eventually { proxy.forwarded.up > sent })
    proxy.cut()
    guard case .unknown = await outcome[0] else {
      Issue.record("a publish that was written and not confirmed is unknown, not \(await outcome)")
      return
    }
    await #expect(throws: RabbitMQError.self) { try await running.value }
    guard case .notPublished = await publisher.publish(encoded: [event])[0] else {
      Issue.record("a publish after the end is not published")
      return
    }
    try await withTestBroker { other, _ in
      _ = try await other.topology.perform(.deleteExchange(EntityNames.exchange(of: type)))
    }
  }
}
