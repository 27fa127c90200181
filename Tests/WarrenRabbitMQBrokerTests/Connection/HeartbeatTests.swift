import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

struct HeartbeatTests {
  @Test func anIdleConnectionOutlivesThreeHeartbeats() async throws {
    try await withTestBroker({ $0.heartbeat = .seconds(1) }) { rabbit, litter in
      let type = try litter.type()
      let ended = await rabbit.publishing.status.wait(timeout: .milliseconds(3500)) { !$0.isOpen }
      #expect(ended == nil)
      var options = Publisher.Options()
      options.unroutable = .accept
      let event = EncodedEvent(metadata: EventMetadata(type: type), body: Data("{}".utf8))
      let outcomes = await Publisher(rabbit, source: "tests", options: options).publish(encoded: [event])
      #expect(outcomes == [.confirmed])
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
    let noticed = await rabbit.publishing.status.wait(timeout: .seconds(10)) { !$0.isOpen }
    let elapsed = ContinuousClock.now - start
    #expect(noticed?.lastFailure?.code == .connectionLost)
    #expect(elapsed >= .milliseconds(900) && elapsed < .milliseconds(3500))
    #expect(!rabbit.health.isReady && rabbit.health.isLive)
    running.cancel()
    try await running.value
  }
}
