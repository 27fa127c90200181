package import Foundation
package import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Certificates of all kinds, and the test broker over TLS.
package enum TestTLS {
  /// What `scripts/certificates` has made for this run. The first call takes as long as a process does.
  package static let certificates: URL = {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(unique("warren-certificates"))
    let made = try? TestBroker.run(["scripts/certificates", folder.path])
    if made?.status == 0 { atexit { try? FileManager.default.removeItem(at: TestTLS.certificates) } }
    return folder
  }()

  /// A file of these certificates.
  package static func file(_ name: String) -> String { certificates.appendingPathComponent(name).path }

  /// The test broker over TLS; nil where nobody says how to reach it.
  package static let url: String? = {
    let environment = ProcessInfo.processInfo.environment
    let candidates = [environment["WARREN_TEST_TLS_URL"], environment["RABBITMQ_URL"]]
    return candidates.compactMap { $0 }.first { $0.hasPrefix("amqps://") }
  }()

  package static var isAvailable: Bool { url != nil }

  package static var configuration: RabbitMQConfiguration {
    get throws {
      guard let url else { throw TestBroker.Failed(text: "WARREN_TEST_TLS_URL is not set") }
      return try RabbitMQConfiguration(url: url)
    }
  }

  /// A file beside the CA certificate of the test broker: issued by the same CA as the broker's own.
  package static func brokerFile(_ name: String) throws -> String {
    guard let file = try configuration.tls?.caFile else { throw TestBroker.Failed(text: "the TLS URL names no CA") }
    return URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent(name).path
  }
}

/// `openssl s_server` on a free port: a server that speaks TLS and nothing else.
package final class TLSServer: Sendable {
  private let processID: Int32
  /// It ends with its input.
  private let input: Int32
  package let port: Int

  /// Returns when it listens.
  package static func start(certificate: String, _ arguments: [String] = []) async throws -> TLSServer {
    try await withCheckedThrowingContinuation { continuation in
      // Starting a process takes its time: on a thread of its own, or the tests beside this one would stand.
      Thread.detachNewThread {
        continuation.resume(with: Result { try TLSServer(certificate: certificate, arguments) })
      }
    }
  }

  private init(certificate: String, _ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", TestTLS.file("\(certificate).pem")]
      + ["-key", TestTLS.file("\(certificate).key"), "-cert_chain", TestTLS.file("\(certificate).pem")] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    let input = Pipe()
    process.standardInput = input
    try process.run()
    // It says where it listens: "ACCEPT 127.0.0.1:40123".
    var said = ""
    var line: Substring?
    while line == nil {
      let data = output.fileHandleForReading.availableData
      if data.isEmpty { throw TestBroker.Failed(text: "openssl s_server does not start: \(said)") }
      said += String(decoding: data, as: UTF8.self)
      // Only whole lines.
      line = said.split(separator: "\n", omittingEmptySubsequences: false).dropLast().first { $0.hasPrefix("ACCEPT") }
    }
    guard let port = line?.split(separator: ":").last.flatMap({ Int($0) }) else {
      kill(process.processIdentifier, SIGKILL)
      throw TestBroker.Failed(text: "openssl s_server says \(said)")
    }
    self.port = port
    processID = process.processIdentifier
    self.input = dup(input.fileHandleForWriting.fileDescriptor)
    // Nobody reads on, and a full pipe must not hold it up.
    output.whenReadable { _ in }
  }

  /// The hard way: a process that a task starts inherits the blocked signals of its thread, SIGTERM among them.
  deinit {
    kill(processID, SIGKILL)
    close(input)
  }
}
