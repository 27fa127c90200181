import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// Publishing and consuming over TLS, and who the broker takes us for.
@Suite(.enabled(if: TestTLS.isAvailable, "the broker does not listen for TLS"), .timeLimit(.minutes(3)))
struct BrokerOverTLSTests {
  private func withTLS<R: Sendable>(
    isolation: isolated (any Actor)? = #isolation, _ body: (RabbitMQ, Litter) async throws -> R
  ) async throws -> R {
    let tls = try TestTLS.configuration
    return try await withTestBroker({ ($0.hosts, $0.tls) = (tls.hosts, tls.tls) }, body)
  }

  /// In batches, so that both directions are full at the same time.
  @Test func twentyThousandEventsGoThereAndBackInOrder() async throws {
    try await withTLS { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, arguments: ["x-queue-type": "classic"], litter)
      let publisher = Publisher(rabbit, source: "tests")
      let events = (0..<20_000).map { number in
        EncodedEvent(metadata: EventMetadata(type: type), body: Data(#"{"number":\#(number)}"#.utf8))
      }
      let outcomes = await publisher.publish(encoded: events)
      #expect(outcomes.count { $0 == .confirmed } == 20_000)
      let received = try await read(20_000, from: queue, rabbit)
      #expect(received == events.map(\.body))
    }
  }

  @Test(arguments: [0, 1, 16_384, 16_385, 1 << 20, 16 << 20]) func bodiesArriveWhole(size: Int) async throws {
    try await withTLS { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, arguments: ["x-queue-type": "classic"], litter)
      var body = Data(count: size)
      for index in body.indices { body[index] = UInt8(truncatingIfNeeded: index &* 31 >> 3) }
      let event = EncodedEvent(metadata: EventMetadata(type: type), body: body)
      #expect(await Publisher(rabbit, source: "tests").publish(encoded: [event]) == [.confirmed])
      let received = try await read(1, from: queue, rabbit)
      #expect(received == [body])
    }
  }

  /// Reads so many bodies out of a queue.
  private func read(_ count: Int, from queue: String, _ rabbit: RabbitMQ) async throws -> [Data] {
    let reader = BodyReader(rabbit.consuming)
    let channel = try await rabbit.consuming.openChannel(.plain(maximumBodySize: 32 << 20), listener: reader)
    reader.channel.withLock { $0 = channel }
    try await rabbit.consuming.request(.setPrefetch(500), on: channel)
    try await rabbit.consuming.request(.consume(queue: queue, tag: "reader"), on: channel)
    let bodies = await reader.bodies.wait(for: count, timeout: .seconds(60))
    await rabbit.consuming.closeChannel(channel)
    return try #require(bodies, "\(reader.bodies.all.count) of \(count) arrived")
  }

  @Test func theCertificateSaysWhoWeAre() async throws {
    var configuration = try TestTLS.configuration
    configuration.authentication = .clientCertificate
    // Not asked for, so it does not matter.
    configuration.password = "wrong"
    try configuration.showBroker("client")
    try await withRabbitMQ(configuration) { rabbit in
      let users = try TestBroker.ctl("list_connections", "--quiet", "user", "auth_mechanism", "ssl")
      #expect(users.contains("guest\tEXTERNAL\ttrue"), "\(users)")
    }
  }

  @Test func aCertificateOfNoUserIsRefused() async throws {
    var configuration = try TestTLS.configuration
    configuration.authentication = .clientCertificate
    try configuration.showBroker("stranger")
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .loginRefused && error.replyCode == 403 && !error.isRetryable, "\(error)")
    #expect(error.message.contains("refuses the user of the client certificate"), "\(error)")
  }

  @Test(arguments: ["client-of-other-ca", "client-expired"])
  func aCertificateThatTheBrokerDoesNotTrustIsRefused(name: String) async throws {
    var configuration = try TestTLS.configuration
    try configuration.showBroker(name)
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .clientCertificateRefused && !error.isRetryable, "\(error)")
  }

  @Test func aWrongPasswordIsNotATLSError() async throws {
    var configuration = try TestTLS.configuration
    configuration.password = "wrong"
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .loginRefused && error.replyCode == 403, "\(error)")
    #expect(!error.message.contains("wrong"))
  }

  @Test(arguments: ["localhost", "127.0.0.1"]) func connectsByNameAndByAddress(host: String) async throws {
    var configuration = try TestTLS.configuration
    configuration.hosts[0].name = host
    let info = try await openSession(configuration).get()
    #expect(info.host == host && !info.serverVersion.isEmpty)
  }

  @Test func thePlainPortSpeaksNoTLS() async throws {
    var configuration = try TestTLS.configuration
    configuration.hosts = try TestBroker.plainConfiguration.hosts
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .tlsNotSpoken, "\(error)")
  }

  @Test func aClientWithoutTLSIsToldAboutIt() async throws {
    var configuration = try TestTLS.configuration
    configuration.tls = nil
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .connectFailed)
    #expect(error.message.contains("it speaks TLS"), "\(error)")
  }
}

/// Takes what comes and acknowledges it.
private final class BodyReader: ChannelListener {
  let bodies = Collected<Data>()
  let channel = Lock<ChannelID?>(nil)
  private let connection: BrokerConnection

  init(_ connection: BrokerConnection) { self.connection = connection }

  func received(_ messages: [IncomingMessage]) {
    for message in messages { bodies.add(message.body) }
    guard let last = messages.last, let channel = channel.withLock({ $0 }) else { return }
    connection.submit(.acknowledge(channel, [.ack(last.deliveryTag, multiple: true)]))
  }
  func consumerCancelled(tag: String) {}
  func channelClosed(_ error: RabbitMQError) {}
}

extension RabbitMQConfiguration {
  fileprivate mutating func showBroker(_ name: String) throws {
    tls?.certificateFile = try TestTLS.brokerFile("\(name).pem")
    tls?.keyFile = try TestTLS.brokerFile("\(name).key")
  }
}
