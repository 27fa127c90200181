import BrokerFixture
import Foundation
import Warren

@testable import WarrenRabbitMQ

/// Opens one session to the first host as the connection thread does, and ends it.
func openSession(
  _ configuration: RabbitMQConfiguration, mailbox: Mailbox = Mailbox()
) async -> Result<ConnectionInfo, RabbitMQError> {
  await withCheckedContinuation { continuation in
    LoopbackServer.onThread {
      do throws(RabbitMQError) {
        try configuration.validate()
        let session = try Session.open(
          host: configuration.hosts[0], configuration: configuration, name: "warren/test",
          wait: ConnectWait(mailbox: mailbox, clock: .system))
        continuation.resume(returning: .success(session.info))
      } catch {
        continuation.resume(returning: .failure(error))
      }
    }
  }
}

/// The error of opening a session.
func failureOfOpening(_ configuration: RabbitMQConfiguration, mailbox: Mailbox = Mailbox()) async -> RabbitMQError? {
  if case .failure(let error) = await openSession(configuration, mailbox: mailbox) { error } else { nil }
}

extension RabbitMQConfiguration {
  /// A server on loopback, trusted by the test CA.
  init(tlsOn port: Int, host: String = "localhost", _ change: (inout TLS) -> Void = { _ in }) {
    self.init(hosts: [Host(host, port: port)])
    connectTimeout = .seconds(5)
    var tls = TLS()
    tls.caFile = TestTLS.file("ca.pem")
    change(&tls)
    self.tls = tls
  }
}
