import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Each way in which a server's TLS can be wrong has an error of its own, which says what to do. The servers are
/// `openssl s_server`, which has no idea of AMQP: no more than TLS is needed for these.
@Suite(.serialized, .timeLimit(.minutes(2))) struct WrongServerTests {
  struct Wrong: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var certificate = "server"
    var arguments: [String] = []
    var host = "localhost"
    var change: @Sendable (inout RabbitMQConfiguration.TLS) -> Void = { _ in }
    var code: RabbitMQError.Code
    /// What the message has to say.
    var says: [String]
  }

  private static let servers: [Wrong] = [
    Wrong(
      testDescription: "expired", certificate: "expired", code: .certificateExpired,
      says: ["CN=localhost", "has expired on Jan  1 00:00:00 2021"]),
    Wrong(
      testDescription: "not yet valid", certificate: "future", code: .certificateNotYetValid,
      says: ["CN=localhost", "valid only from Jan  1 00:00:00 2098", "clocks"]),
    Wrong(
      testDescription: "for another host", certificate: "wrong-host", code: .certificateWrongHost,
      says: ["not for \"localhost\" but for DNS:elsewhere.example", "tls.serverName"]),
    Wrong(
      testDescription: "for another address", certificate: "wrong-host", host: "127.0.0.1",
      code: .certificateWrongHost, says: ["not for \"127.0.0.1\" but for DNS:elsewhere.example"]),
    Wrong(
      testDescription: "not for the name that we insist on", change: { $0.serverName = "rabbit.example" },
      code: .certificateWrongHost, says: ["not for \"rabbit.example\" but for DNS:localhost, IP Address:127.0.0.1"]),
    Wrong(
      testDescription: "by an unknown CA", change: { $0.caFile = TestTLS.file("other-ca.pem") },
      code: .certificateUntrusted, says: ["signed by an unknown CA", "tls.caFile"]),
    Wrong(
      testDescription: "by a CA that the system does not know", change: { $0.caFile = nil },
      code: .certificateUntrusted, says: ["signed by an unknown CA", "tls.caFile"]),
    Wrong(
      testDescription: "self-signed", certificate: "self-signed", code: .certificateUntrusted,
      says: ["CN=localhost", "self-signed", "tls.caFile"]),
    Wrong(
      testDescription: "no TLS 1.3", arguments: ["-tls1_2"], change: { $0.minimumVersion = .tls13 },
      code: .tlsVersionRefused, says: ["does not speak TLS 1.3", "tls.minimumVersion"]),
    Wrong(
      testDescription: "only TLS 1.1", arguments: ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
      code: .tlsVersionRefused, says: ["does not speak TLS 1.2"]),
    Wrong(
      testDescription: "no cipher in common", arguments: ["-tls1_2", "-cipher", "AES256-SHA"], code: .tlsFailed,
      says: ["ended the TLS handshake"]),
    Wrong(
      testDescription: "it wants a certificate, TLS 1.2", arguments: ["-tls1_2", "-Verify", "1"],
      code: .clientCertificateRefused, says: ["wants a client certificate", "tls.certificateFile"]),
    Wrong(
      testDescription: "it wants a certificate, TLS 1.3", arguments: ["-tls1_3", "-Verify", "1"],
      code: .clientCertificateRefused, says: ["wants a client certificate", "tls.certificateFile"]),
    Wrong(
      testDescription: "it does not trust ours, TLS 1.2",
      arguments: ["-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", TestTLS.file("ca.pem")],
      change: { $0.show("client-of-other-ca") }, code: .clientCertificateRefused,
      says: ["refuses the client certificate", "a CA that the broker trusts"]),
    Wrong(
      testDescription: "it does not trust ours, TLS 1.3",
      arguments: ["-tls1_3", "-Verify", "1", "-verify_return_error", "-CAfile", TestTLS.file("ca.pem")],
      change: { $0.show("client-of-other-ca") }, code: .clientCertificateRefused,
      says: ["refuses the client certificate", "a CA that the broker trusts"]),
    Wrong(
      testDescription: "ours has expired",
      arguments: ["-Verify", "1", "-verify_return_error", "-CAfile", TestTLS.file("ca.pem")],
      change: { $0.show("client-expired") }, code: .clientCertificateRefused,
      says: ["refuses the client certificate", "expired"]),
  ]

  @Test(arguments: servers) func hasItsOwnError(wrong: Wrong) async throws {
    let server = try await TLSServer.start(certificate: wrong.certificate, wrong.arguments)
    let configuration = RabbitMQConfiguration(tlsOn: server.port, host: wrong.host, wrong.change)
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == wrong.code, "\(error)")
    for text in wrong.says { #expect(error.message.contains(text), "\(error)") }
    #expect(error.message.hasPrefix("\(wrong.host):\(server.port): "), "\(error)")
    #expect(!error.isRetryable)
  }

  /// What is right gets as far as AMQP, which these servers do not speak.
  @Test(arguments: [
    Wrong(testDescription: "by name", code: .connectFailed, says: []),
    Wrong(testDescription: "by address", host: "127.0.0.1", code: .connectFailed, says: []),
    Wrong(
      testDescription: "by an intermediate CA", certificate: "server-of-intermediate", code: .connectFailed, says: []),
    Wrong(
      testDescription: "by the name that we insist on", certificate: "wrong-host",
      change: { $0.serverName = "elsewhere.example" }, code: .connectFailed, says: []),
    Wrong(
      testDescription: "the CA is the certificate itself", certificate: "self-signed",
      change: { $0.caFile = TestTLS.file("self-signed.pem") }, code: .connectFailed, says: []),
    Wrong(
      testDescription: "unchecked, by name of the setting", certificate: "expired", host: "127.0.0.1",
      change: { ($0.verification, $0.serverName) = (.unsafelyNone, "rabbit.example") }, code: .connectFailed, says: []),
    Wrong(
      testDescription: "TLS 1.3", arguments: ["-tls1_3"], change: { $0.minimumVersion = .tls13 },
      code: .connectFailed, says: []),
    Wrong(
      testDescription: "it trusts our certificate",
      arguments: ["-Verify", "1", "-verify_return_error", "-CAfile", TestTLS.file("ca.pem")],
      change: { $0.show("client") }, code: .connectFailed, says: []),
  ])
  func isNoErrorWhereNothingIsWrong(right: Wrong) async throws {
    let server = try await TLSServer.start(certificate: right.certificate, right.arguments)
    var configuration = RabbitMQConfiguration(tlsOn: server.port, host: right.host, right.change)
    configuration.connectTimeout = .milliseconds(500)
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .connectFailed)
    #expect(error.message.contains("accepted the connection but not the login: it did not answer"), "\(error)")
  }

  @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "AMQP\u{0}\u{0}\u{9}\u{1}", "220 mail.example ESMTP\r\n"])
  func whatAnswersSpeaksNoTLS(greeting: String) async throws {
    try await LoopbackServer.withServer(saying: Array(greeting.utf8)) { port in
      let error = try #require(await failureOfOpening(RabbitMQConfiguration(tlsOn: port, host: "127.0.0.1")))
      #expect(error.code == .tlsNotSpoken)
      #expect(error.message.contains("speaks no TLS"))
      #expect(!error.isRetryable)
    }
  }

  @Test func whatListensSaysNothing() async throws {
    try await LoopbackServer.withServer(saying: nil) { port in
      var configuration = RabbitMQConfiguration(tlsOn: port, host: "127.0.0.1")
      configuration.connectTimeout = .milliseconds(300)
      let began = ContinuousClock.now
      let error = try #require(await failureOfOpening(configuration))
      #expect(error.code == .connectFailed && error.isRetryable)
      #expect(error.message.contains("did not end the TLS handshake within"), "\(error)")
      #expect(ContinuousClock.now - began < .seconds(3))
    }
  }

  @Test func itHangsUpInTheHandshake() async throws {
    try await LoopbackServer.withServer(saying: []) { port in
      let error = try #require(await failureOfOpening(RabbitMQConfiguration(tlsOn: port, host: "127.0.0.1")))
      #expect(error.code == .connectFailed && error.isRetryable)
      #expect(error.message.contains("broke off the TLS handshake"), "\(error)")
    }
  }
}

extension RabbitMQConfiguration.TLS {
  /// Shows a certificate of the test's folder.
  mutating func show(_ name: String) {
    (certificateFile, keyFile) = (TestTLS.file("\(name).pem"), TestTLS.file("\(name).key"))
  }
}
