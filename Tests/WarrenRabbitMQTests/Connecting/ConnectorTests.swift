import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// Connecting by address: each has its deadline, a silent one holds up no other, and a goodbye ends it all.
@Suite(.timeLimit(.minutes(1))) struct ConnectorTests {
  private enum Outcome: Sendable, Equatable {
    case connected
    case nobody([String])
    case failed(RabbitMQError.Code)
  }

  /// Asks a connector for its next sockets, on a thread, and closes them.
  private func connect(
    _ addresses: [SocketAddress], timeout: Duration, sockets: Int = 1, mailbox: Mailbox = Mailbox()
  ) async -> [Outcome] {
    await withCheckedContinuation { continuation in
      startDetachedThread(name: "test", stackSize: 1 << 20) {
        let wait = ConnectWait(mailbox: mailbox, clock: .system)
        var connector = Connector(addresses, timeout: timeout, wait: wait)
        var outcomes: [Outcome] = []
        for _ in 0..<sockets {
          do throws(RabbitMQError) {
            if let descriptor = try connector.next() {
              outcomes.append(.connected)
              closeDescriptor(descriptor)
            } else {
              outcomes.append(.nobody(connector.problems))
            }
          } catch {
            outcomes.append(.failed(error.code))
          }
        }
        continuation.resume(returning: outcomes)
      }
    }
  }

  private func address(_ port: Int, _ host: String = "127.0.0.1") throws -> SocketAddress {
    try #require(SocketAddress.literal(.init(host, port: port)))
  }

  @Test func aSilentAddressEndsByItsDeadline() async throws {
    let silent = try LoopbackListener(isSilent: true)
    let began = ContinuousClock.now
    let outcomes = await connect([try address(silent.port)], timeout: .milliseconds(300))
    let took = ContinuousClock.now - began
    #expect(outcomes == [.nobody(["127.0.0.1: no answer within 0.3 seconds"])])
    #expect(took >= .milliseconds(300) && took < .seconds(3), "\(took)")
  }

  @Test func aSilentAddressDoesNotHoldUpTheNext() async throws {
    let silent = try LoopbackListener(isSilent: true)
    let good = try LoopbackListener()
    let began = ContinuousClock.now
    let outcomes = await connect([try address(silent.port), try address(good.port)], timeout: .seconds(30))
    #expect(outcomes == [.connected])
    #expect(ContinuousClock.now - began < .seconds(10))
  }

  @Test func whatRefusesIsNamedAndTheNextIsTriedAtOnce() async throws {
    let dead = try LoopbackListener().port
    let good = try LoopbackListener(host: "::1")
    let outcomes = await connect(
      [try address(dead), try address(good.port, "::1"), try address(dead)], timeout: .seconds(5), sockets: 3)
    #expect(
      outcomes == [
        .connected, .nobody(["127.0.0.1: Connection refused", "127.0.0.1: Connection refused"]),
        .nobody(["127.0.0.1: Connection refused", "127.0.0.1: Connection refused"]),
      ])
  }

  @Test func noAddressIsNobody() async { #expect(await connect([], timeout: .seconds(1)) == [.nobody([])]) }

  @Test func aGoodbyeEndsTheWait() async throws {
    let silent = try LoopbackListener(isSilent: true)
    let mailbox = Mailbox()
    let address = try address(silent.port)
    let began = ContinuousClock.now
    async let outcomes = connect([address], timeout: .seconds(50), mailbox: mailbox)
    _ = mailbox.post(.close(because: nil))
    #expect(await outcomes == [.failed(.connectionClosed)])
    #expect(ContinuousClock.now - began < .seconds(10))
  }

  /// Commands that wait for the connection wake the thread, and do no more.
  @Test func otherCommandsDoNotEndIt() async throws {
    let silent = try LoopbackListener(isSilent: true)
    let mailbox = Mailbox()
    _ = mailbox.post(.acknowledge(ChannelID(1), []))
    let outcomes = await connect([try address(silent.port)], timeout: .milliseconds(300), mailbox: mailbox)
    #expect(outcomes == [.nobody(["127.0.0.1: no answer within 0.3 seconds"])])
    #expect(mailbox.close().count == 1)
  }
}
