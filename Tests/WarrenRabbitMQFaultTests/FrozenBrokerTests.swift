import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension BrokenBroker {
  @Suite(.serialized) struct FrozenBrokerTests {
    /// Runs `body` while the broker's process is stopped.
    private func frozen<R: Sendable>(_ body: () async throws -> R) async throws -> R {
      let broker = try #require(TestBroker.processID)
      kill(broker, SIGSTOP)
      do {
        let result = try await body()
        kill(broker, SIGCONT)
        return result
      } catch {
        kill(broker, SIGCONT)
        throw error
      }
    }

    private func event(_ type: EventType) -> EncodedEvent {
      EncodedEvent(metadata: EventMetadata(type: type, source: "tests"), body: Data("{}".utf8))
    }

    @Test func everyPendingCallEndsByItsDeadline() async throws {
      try await withTestBroker({
        $0.publishing.timeout = .seconds(2)
        $0.publishing.window = 50
        $0.requestTimeout = .seconds(2)
      }) { rabbit, litter in
        let type = try litter.type()
        let publisher = Publisher(rabbit, source: "tests")
        let queue = unique()
        try await rabbit.topology.ensure([.exchange(of: type)])
        try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: type), "#")], litter: litter)
        #expect(await publisher.publish(encoded: [event(type)]) == [.confirmed])

        let (outcomes, declare, elapsed) = try await frozen {
          let start = ContinuousClock.now
          let declare = Task { () -> RabbitMQError? in
            do {
              _ = try await rabbit.depth(queue)
              return nil
            } catch {
              return error as? RabbitMQError
            }
          }
          let outcomes = await withTaskGroup(of: PublishOutcome.self) { group in
            for _ in 0..<200 { group.addTask { await publisher.publish(encoded: [event(type)])[0] } }
            return await group.reduce(into: []) { $0.append($1) }
          }
          return (outcomes, await declare.value, ContinuousClock.now - start)
        }
        #expect(elapsed < .seconds(5))
        #expect(declare?.code == .timedOut || declare?.code == .connectionLost)
        let unknown = outcomes.count { if case .unknown = $0 { true } else { false } }
        let notPublished = outcomes.count { if case .notPublished = $0 { true } else { false } }
        #expect(unknown == 50)
        #expect(notPublished == 150)

        try await withTestBroker { other, _ in
          let isThere = try await other.waitForDepth(queue, 1 + unknown)
          #expect(isThere)
        }
      }
    }

    @Test func aFrozenBrokerIsNoticedWithinTwoHeartbeats() async throws {
      var configuration = try TestBroker.configuration
      configuration.heartbeat = .seconds(1)
      let rabbit = try RabbitMQ(configuration)
      let running = Task { try await rabbit.run() }
      try await rabbit.waitUntilConnected()
      let elapsed = try await frozen {
        let start = ContinuousClock.now
        let lost = await rabbit.publishing.status.wait(timeout: .seconds(10)) { !$0.isOpen }
        #expect(lost?.lastFailure?.code == .connectionLost)
        #expect(lost?.lastFailure?.isRetryable == true)
        return ContinuousClock.now - start
      }
      // Two intervals after the last byte, which may be one interval old.
      #expect(elapsed >= .milliseconds(900) && elapsed < .seconds(3))
      try await rabbit.waitUntilConnected(timeout: .seconds(20))
      #expect(rabbit.health.isReady)
      running.cancel()
      try await running.value
    }
  }
}
