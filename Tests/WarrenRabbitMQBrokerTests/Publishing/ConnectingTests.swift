import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// What cannot be reached or refuses us ends with an error that says which of the two, in time and without the password.
struct ConnectingTests {
  private static let soon = Duration.seconds(8)

  /// The error of connecting with a changed configuration, and how long it took.
  private func failure(_ change: (inout RabbitMQConfiguration) -> Void) async throws -> RabbitMQError {
    var configuration = try TestBroker.plainConfiguration
    configuration.connectTimeout = .seconds(5)
    configuration.startup = .failFast
    change(&configuration)
    let rabbit = try RabbitMQ(configuration)
    var failure: RabbitMQError?
    let took = try await elapsed {
      let running = Task { try await rabbit.run() }
      let waiting = await error(RabbitMQError.self) { try await rabbit.waitUntilConnected() }
      failure = await error(RabbitMQError.self) { try await running.value }
      #expect(waiting?.code == failure?.code)
    }
    #expect(took < Self.soon, "\(took)")
    return try #require(failure)
  }

  @Test func aWrongPasswordIsRefusedAndNeverPrinted() async throws {
    let password = "p4ss/w@rd:\(unique())"
    let failure = try await failure { $0.password = password }
    #expect(failure.code == .loginRefused)
    #expect(failure.replyCode == 403)
    #expect(!failure.isRetryable)
    let user = try TestBroker.plainConfiguration.user
    #expect(failure.message.contains("refuses the user \"\(user)\""))
    var configuration = try TestBroker.plainConfiguration
    configuration.password = password
    let rabbit = try RabbitMQ(configuration)
    var dumped = ""
    dump(rabbit, to: &dumped)
    for text in ["\(failure)", "\(rabbit)", "\(configuration)", String(reflecting: configuration), dumped] {
      #expect(!text.contains(password))
      #expect(!text.contains("p4ss"))
    }
  }

  @Test func aVirtualHostThatIsMissingIsNamed() async throws {
    let failure = try await failure { $0.virtualHost = "no such place" }
    #expect(failure.code == .vhostRefused)
    #expect(failure.replyCode == 530)
    #expect(!failure.isRetryable)
    #expect(failure.message.contains("refuses the virtual host \"no such place\""))
  }

  @Test func nobodyListening() async throws {
    let port = try LoopbackServer.deadPort()
    let failure = try await failure { $0.hosts = [.init("127.0.0.1", port: port)] }
    #expect(failure.code == .connectFailed)
    #expect(failure.isRetryable)
    #expect(failure.message.contains("cannot connect to 127.0.0.1:\(port)"))
  }

  struct Answer: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var bytes: [UInt8]
  }

  private static let answers = [
    Answer(testDescription: "HTTP", bytes: Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".utf8)),
    Answer(testDescription: "the header of AMQP 1.0", bytes: Array("AMQP".utf8) + [0, 1, 0, 0]),
    Answer(testDescription: "noise", bytes: [UInt8](repeating: 0xff, count: 4096)),
    Answer(testDescription: "a frame of two gigabytes", bytes: [1, 0, 0, 0x7f, 0xff, 0xff, 0xff]),
    Answer(testDescription: "it hangs up", bytes: []),
  ]

  @Test(arguments: answers)
  func whatAnswersIsNoBroker(_ answer: Answer) async throws {
    try await LoopbackServer.withServer(saying: answer.bytes) { port in
      let failure = try await failure {
        $0.hosts = [.init("127.0.0.1", port: port)]
        $0.connectTimeout = .seconds(1)
      }
      #expect(failure.code == .connectFailed)
      #expect(failure.isRetryable)
      #expect(failure.message.contains("127.0.0.1:\(port) accepted the connection but not the login"), "\(failure)")
    }
  }

  @Test func whatListensSaysNothing() async throws {
    try await LoopbackServer.withServer(saying: nil) { port in
      let failure = try await failure {
        $0.hosts = [.init("127.0.0.1", port: port)]
        $0.connectTimeout = .milliseconds(500)
      }
      #expect(failure.code == .connectFailed)
      #expect(failure.isRetryable)
    }
  }

  @Test func theFirstHostThatAnswersIsTaken() async throws {
    try await LoopbackServer.withServer(saying: nil) { silent in
      let broker = try TestBroker.plainConfiguration.hosts
      let dead = try LoopbackServer.deadPort()
      var configuration = try TestBroker.plainConfiguration
      configuration.hosts = [.init("127.0.0.1", port: dead), .init("127.0.0.1", port: silent)] + broker
      configuration.connectTimeout = .seconds(2)
      let rabbit = try RabbitMQ(configuration)
      let running = Task { try await rabbit.run() }
      try await rabbit.waitUntilConnected(timeout: .seconds(20))
      for connection in [rabbit.publishing, rabbit.consuming] {
        let info = try await connection.whenOpen(timeout: .seconds(1))
        #expect(info.host == broker[0].name)
        #expect(info.port == broker[0].port)
      }
      running.cancel()
      try await running.value
    }
  }

  @Test func aBrokerThatRefusesTheLoginIsNotAskedAgainUnderAnotherAddress() async throws {
    try await withTap { first in
      try await withTap { second in
        let failure = try await failure {
          $0.password = "wrong"
          $0.hosts = [.init("127.0.0.1", port: first.port), .init("127.0.0.1", port: second.port)]
        }
        #expect(failure.code == .loginRefused)
        // One for each of the two connections.
        #expect(first.connections + second.connections <= 2)
      }
    }
  }
}
