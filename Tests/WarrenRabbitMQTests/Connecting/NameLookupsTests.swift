import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The system's call for names has no deadline and cannot be ended; who waits for it has both.
@Suite(.timeLimit(.minutes(1))) struct NameLookupsTests {
  private typealias Host = RabbitMQConfiguration.Host

  /// A name server that answers when it is told to.
  private final class SilentNames: Sendable {
    let asked = Watched(0)
    private let gate = Lock(false)

    func answer() { gate.withLock { $0 = true } }

    func lookups() -> NameLookups {
      NameLookups { [self] host in
        asked.update { $0 += 1 }
        while !gate.withLock({ $0 }) { usleep(1000) }
        return SocketAddress.all(of: Host("127.0.0.1", port: host.port))
      }
    }
  }

  private func addresses(
    of host: Host, _ lookups: NameLookups, timeout: Duration, mailbox: Mailbox = Mailbox()
  ) async -> Result<[String], RabbitMQError> {
    await withCheckedContinuation { continuation in
      startDetachedThread(name: "test", stackSize: 1 << 20) {
        do throws(RabbitMQError) {
          let found = try lookups.addresses(
            of: host, timeout: timeout, wait: ConnectWait(mailbox: mailbox, clock: .system))
          continuation.resume(returning: .success(found.map(\.text)))
        } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
  }

  private func failure(_ result: Result<[String], RabbitMQError>) -> RabbitMQError? {
    if case .failure(let error) = result { error } else { nil }
  }

  @Test func addressesAreNotAskedFor() async throws {
    let names = SilentNames()
    let lookups = names.lookups()
    #expect(try await addresses(of: Host("127.0.0.1"), lookups, timeout: .seconds(1)).get() == ["127.0.0.1"])
    #expect(try await addresses(of: Host("::1"), lookups, timeout: .seconds(1)).get() == ["::1"])
    #expect(names.asked.value == 0)
  }

  @Test func aSilentNameServerEndsByTheDeadline() async throws {
    let names = SilentNames()
    defer { names.answer() }
    let began = ContinuousClock.now
    let result = await addresses(of: Host("rabbit"), names.lookups(), timeout: .milliseconds(200))
    let took = ContinuousClock.now - began
    let error = try #require(failure(result))
    #expect(error.code == .connectFailed && error.isRetryable)
    #expect(error.message.contains("\"rabbit\" within 0.2 seconds: the name server is silent"))
    #expect(took >= .milliseconds(200) && took < .seconds(5))
  }

  @Test func aGoodbyeEndsTheWait() async throws {
    let names = SilentNames()
    defer { names.answer() }
    let lookups = names.lookups()
    let mailbox = Mailbox()
    async let result = addresses(of: Host("rabbit"), lookups, timeout: .seconds(50), mailbox: mailbox)
    #expect(await names.asked.wait(timeout: .seconds(10)) { $0 == 1 } != nil)
    _ = mailbox.post(.close(because: nil))
    #expect(failure(await result)?.code == .connectionClosed)
  }

  @Test func whoAsksForTheSameNameWaitsForTheSameAnswer() async throws {
    let names = SilentNames()
    let lookups = names.lookups()
    // One has given up already; its question is still open.
    #expect(failure(await addresses(of: Host("rabbit"), lookups, timeout: .milliseconds(1))) != nil)
    async let first = addresses(of: Host("rabbit"), lookups, timeout: .seconds(50))
    async let second = addresses(of: Host("rabbit"), lookups, timeout: .seconds(50))
    async let other = addresses(of: Host("hare"), lookups, timeout: .seconds(50))
    #expect(await names.asked.wait(timeout: .seconds(10)) { $0 == 2 } != nil)
    names.answer()
    #expect(try await first.get() == ["127.0.0.1"])
    #expect(try await second.get() == ["127.0.0.1"])
    #expect(try await other.get() == ["127.0.0.1"])
    #expect(names.asked.value <= 3)
  }

  @Test func theSystemIsAsked() async throws {
    let found = try await addresses(of: Host("localhost"), .shared, timeout: .seconds(20)).get()
    #expect(found.contains("127.0.0.1") || found.contains("::1"))
    // Reserved to have no address (RFC 6761 §6.4).
    let error = try #require(failure(await addresses(of: Host("rabbit.invalid"), .shared, timeout: .seconds(50))))
    #expect(error.code == .connectFailed && error.isRetryable)
    #expect(error.message.contains("\"rabbit.invalid\" gives no address"), "\(error)")
  }
}
