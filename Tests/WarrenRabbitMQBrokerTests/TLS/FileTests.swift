import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Files with certificates and keys that cannot be used are named, with the field and the reason, before anything is sent.
@Suite(.serialized, .timeLimit(.minutes(1))) struct FileTests {
  typealias TLS = RabbitMQConfiguration.TLS

  struct Wrong: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var change: @Sendable (inout TLS) -> Void
    var says: [String]
  }

  private static let missing = "/no/such/file.pem"

  private static let files: [Wrong] = [
    Wrong(
      testDescription: "no CA file", change: { $0.caFile = missing },
      says: ["tls.caFile", missing, "No such file or directory"]),
    Wrong(
      testDescription: "the CA file is a folder", change: { $0.caFile = TestTLS.certificates.path },
      says: ["tls.caFile", "is no file"]),
    Wrong(
      testDescription: "the CA file holds something else", change: { $0.caFile = TestTLS.file("log") },
      says: ["tls.caFile", "holds no certificate in PEM form"]),
    Wrong(
      testDescription: "no certificate",
      change: { ($0.certificateFile, $0.keyFile) = (missing, TestTLS.file("client.key")) },
      says: ["tls.certificateFile", missing, "No such file or directory"]),
    Wrong(
      testDescription: "the certificate is a key",
      change: { ($0.certificateFile, $0.keyFile) = (TestTLS.file("client.key"), TestTLS.file("client.key")) },
      says: ["tls.certificateFile", "holds no usable certificate in PEM form"]),
    Wrong(
      testDescription: "no key", change: { ($0.certificateFile, $0.keyFile) = (TestTLS.file("client.pem"), missing) },
      says: ["tls.keyFile", missing, "No such file or directory"]),
    Wrong(
      testDescription: "the key is a certificate",
      change: { ($0.certificateFile, $0.keyFile) = (TestTLS.file("client.pem"), TestTLS.file("client.pem")) },
      says: ["tls.keyFile", "holds no usable private key in PEM form"]),
    Wrong(
      testDescription: "the key of another certificate",
      change: { ($0.certificateFile, $0.keyFile) = (TestTLS.file("client.pem"), TestTLS.file("server.key")) },
      says: ["tls.keyFile", "is not the key of the certificate in", "client.pem"]),
    Wrong(
      testDescription: "an encrypted key without its password", change: { $0.showEncrypted(password: nil) },
      says: ["tls.keyFile", "is encrypted: set tls.keyPassword"]),
    Wrong(
      testDescription: "an encrypted key with another password", change: { $0.showEncrypted(password: "close sesame") },
      says: ["tls.keyFile", "is encrypted: tls.keyPassword is not its password"]),
  ]

  @Test(arguments: files) func isNamed(wrong: Wrong) async throws {
    // Nobody listens there: the files come first.
    let configuration = RabbitMQConfiguration(tlsOn: try LoopbackServer.deadPort(), wrong.change)
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .tlsFileUnusable, "\(error)")
    #expect(!error.isRetryable)
    for text in wrong.says { #expect(error.message.contains(text), "\(error)") }
    #expect(!error.message.contains("sesame"))
  }

  @Test(.enabled(if: geteuid() != 0, "the superuser may read everything")) func aFileThatMayNotBeRead() async throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(unique("key")).path
    try FileManager.default.copyItem(atPath: TestTLS.file("client.key"), toPath: file)
    defer { try? FileManager.default.removeItem(atPath: file) }
    try FileManager.default.setAttributes([.posixPermissions: 0], ofItemAtPath: file)
    let configuration = RabbitMQConfiguration(tlsOn: try LoopbackServer.deadPort()) {
      ($0.certificateFile, $0.keyFile) = (TestTLS.file("client.pem"), file)
    }
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .tlsFileUnusable && error.message.contains("Permission denied"), "\(error)")
  }

  @Test func theRightPasswordOpensAnEncryptedKey() async throws {
    let configuration = RabbitMQConfiguration(tlsOn: try LoopbackServer.deadPort()) {
      $0.showEncrypted(password: "open sesame")
    }
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .connectFailed, "\(error)")
  }

  /// A renewed certificate is in use without a restart.
  @Test func filesAreReadForEveryConnection() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(unique("renewed"))
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("ca.pem").path
    try FileManager.default.copyItem(atPath: TestTLS.file("other-ca.pem"), toPath: file)
    let server = try await TLSServer.start(certificate: "server")
    var configuration = RabbitMQConfiguration(tlsOn: server.port) { $0.caFile = file }
    configuration.connectTimeout = .milliseconds(500)
    #expect(await failureOfOpening(configuration)?.code == .certificateUntrusted)
    try FileManager.default.removeItem(atPath: file)
    try FileManager.default.copyItem(atPath: TestTLS.file("ca.pem"), toPath: file)
    #expect(await failureOfOpening(configuration)?.code == .connectFailed)
  }
}

extension RabbitMQConfiguration.TLS {
  fileprivate mutating func showEncrypted(password: String?) {
    show("client")
    keyFile = TestTLS.file("client-encrypted.key")
    keyPassword = password
  }
}
