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
  /// Things that happen to a broker under load. Nothing that was confirmed is lost, and all goes on within five seconds after
  /// the broker takes connections again.
  @Suite(.serialized) struct LoadedBrokerTests {
    private func configuration() throws -> RabbitMQConfiguration {
      var configuration = try TestBroker.configuration
      configuration.heartbeat = .seconds(1)
      configuration.connectTimeout = .seconds(2)
      configuration.publishing.timeout = .seconds(60)
      return configuration
    }

    private static let limit = Duration.seconds(5)

    @Test func itIsKilledAndComesBack() async throws {
      try await Load.run(configuration()) { load in
        // RabbitMQ writes what was declared to its disk log with a delay of some two seconds: killed before, it may have
        // forgotten exchange and binding, and a publish is unroutable until the worker has declared them again.
        try await Task.sleep(for: .seconds(4))
        let broker = try #require(TestBroker.processID)
        kill(broker, SIGKILL)
        #expect(await load.rabbit.consuming.status.wait(timeout: .seconds(5)) { !$0.isOpen } != nil)
        #expect(load.rabbit.health.status == .degraded && load.rabbit.health.isLive)
        try TestBroker.restart()
        let took = try await load.timeToResume()
        #expect(took < Self.limit, "\(took)")
        #expect(load.ledger.value.failed.isEmpty, "\(load.ledger.value.failed.values.first.map { "\($0)" } ?? "")")
      }
    }

    @Test func itIsFrozenBeyondTheHeartbeat() async throws {
      try await Load.run(configuration()) { load in
        let broker = try #require(TestBroker.processID)
        kill(broker, SIGSTOP)
        #expect(await load.rabbit.publishing.status.wait(timeout: .seconds(5)) { !$0.isOpen } != nil)
        #expect(await load.rabbit.consuming.status.wait(timeout: .seconds(5)) { !$0.isOpen } != nil)
        #expect(!load.rabbit.health.isReady)
        // Tries to connect are under way while it stands.
        #expect(await load.rabbit.consuming.status.wait(timeout: .seconds(20)) { $0.attempts > 1 } != nil)
        kill(broker, SIGCONT)
        let took = try await load.timeToResume()
        #expect(took < Self.limit, "\(took)")
        #expect(load.ledger.value.failed.isEmpty)
      }
    }

    @Test func itClosesAllConnections() async throws {
      try await Load.run(configuration()) { load in
        for round in 1...3 {
          try TestBroker.ctl("close_all_connections", "round \(round)")
          let took = try await load.timeToResume()
          #expect(took < Self.limit, "\(took)")
        }
        #expect(load.rabbit.publishing.status.value.epoch == 4)
        #expect(load.rabbit.publishing.status.value.lastFailure?.replyCode == 320)
        #expect(load.ledger.value.failed.isEmpty)
      }
    }

    /// Consuming goes on, nothing is reconnected, and publishing resumes by itself.
    @Test func itHasAMemoryAlarm() async throws {
      try await Load.run(configuration()) { load in
        func alarm(_ verb: String, _ what: String) throws {
          try TestBroker.ctl("eval", "rabbit_alarm:\(verb)(\(what)).")
        }
        try alarm("set_alarm", "{{resource_limit,memory,node()},[]}")
        let outcome: (blocked: Bool, isDegraded: Bool, attempts: Bool)
        do {
          let blocked = await load.rabbit.publishing.status.wait(timeout: .seconds(5)) { $0.blockedReason != nil }
          let reasons = load.rabbit.health.reasons
          // The whole time: neither connection ends.
          let ended = await load.rabbit.publishing.status.wait(timeout: .seconds(FaultRuns.seconds)) { !$0.isOpen }
          outcome = (blocked != nil, reasons.contains { $0.contains("takes no publishes") }, ended != nil)
          #expect(try await load.rabbit.waitForDepth(load.queue, 0))
          try alarm("clear_alarm", "{resource_limit,memory,node()}")
        } catch {
          try alarm("clear_alarm", "{resource_limit,memory,node()}")
          throw error
        }
        #expect(outcome == (true, true, false))
        let took = try await load.timeToResume()
        #expect(took < Self.limit, "\(took)")
        #expect(load.rabbit.publishing.status.value.epoch == 1 && load.rabbit.consuming.status.value.epoch == 1)
        #expect(load.ledger.value.failed.isEmpty)
      }
    }

    /// The queue under the worker goes, with what was in it. Where Warren owns it it is back, and what comes later arrives.
    @Test func aQueueIsDeleted() async throws {
      try await Load.run(configuration()) { load in
        try TestBroker.ctl("delete_queue", load.queue)
        let took = try await load.timeToResume()
        #expect(took < Self.limit, "\(took)")
        // Gone with the queue, as is stated: what was confirmed before it was deleted and not handled.
        load.ledger.update { $0.gone = $0.confirmed.subtracting($0.handled) }
      }
    }
  }
}
