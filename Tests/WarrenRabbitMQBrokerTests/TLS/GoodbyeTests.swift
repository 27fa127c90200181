import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Whatever opening a connection waits for, it ends at once when the connection is not wanted any more.
@Suite(.timeLimit(.minutes(1))) struct GoodbyeTests {
  enum Step: String, Sendable, CaseIterable {
    case handshake, login
  }

  @Test(arguments: Step.allCases) func endsTheWait(step: Step) async throws {
    let proxy = try FaultProxy(to: try TestBroker.plainConfiguration.hosts[0].port)
    defer { proxy.close() }
    proxy.behave { $0.holdsDown = true }
    var configuration = RabbitMQConfiguration(tlsOn: proxy.port, host: "127.0.0.1")
    if case .login = step { configuration.tls = nil }
    configuration.connectTimeout = .seconds(50)
    let mailbox = Mailbox()
    async let failure = failureOfOpening(configuration, mailbox: mailbox)
    // What we say has passed, so we wait for an answer now.
    #expect(try await eventually { proxy.forwarded.up > 0 })
    let began = ContinuousClock.now
    _ = mailbox.post(.close(because: nil))
    #expect(await failure?.code == .connectionClosed)
    #expect(ContinuousClock.now - began < .seconds(5))
  }

  /// A broker that says a piece at a time is as silent as one that says nothing.
  @Test(arguments: Step.allCases) func aDripDoesNotExtendTheDeadline(step: Step) async throws {
    let isTLS = step == .handshake
    if isTLS, !TestTLS.isAvailable { return }
    var configuration = try isTLS ? TestTLS.configuration : TestBroker.plainConfiguration
    let proxy = try FaultProxy(to: configuration.hosts[0].port)
    defer { proxy.close() }
    proxy.behave { $0.bytesPerTurn = 1 }
    configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
    configuration.connectTimeout = .milliseconds(500)
    let began = ContinuousClock.now
    let error = try #require(await failureOfOpening(configuration))
    #expect(error.code == .connectFailed && error.isRetryable, "\(error)")
    #expect(error.message.contains("within 0.5 seconds"), "\(error)")
    #expect(ContinuousClock.now - began < .seconds(4))
  }
}
