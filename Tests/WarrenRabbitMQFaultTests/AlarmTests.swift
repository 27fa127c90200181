import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// The tests of this target break the broker that they run against, one after the other.
@Suite(
  .serialized,
  .enabled(if: TestBroker.canBreak, "needs WARREN_TEST_BROKER: run scripts/test"))
struct BrokenBroker {}

extension BrokenBroker {
  @Suite(.serialized) struct AlarmTests {
    private func setAlarm() throws {
      try TestBroker.ctl("eval", "rabbit_alarm:set_alarm({{resource_limit,memory,node()},[]}).")
    }

    private func clearAlarm() throws {
      try TestBroker.ctl("eval", "rabbit_alarm:clear_alarm({resource_limit,memory,node()}).")
    }

    private func event(_ type: EventType, _ text: String = "{}") -> EncodedEvent {
      EncodedEvent(metadata: EventMetadata(type: type, source: "tests"), body: Data(text.utf8))
    }

    @Test func publishesEndByTheirDeadlinesAndGoOnAfterTheAlarm() async throws {
      try await withTestBroker({ $0.publishing.timeout = .milliseconds(1500) }) { rabbit, litter in
        let type = try litter.type()
        let publisher = Publisher(rabbit, source: "tests")
        let queue = unique()
        try await rabbit.topology.ensure([.exchange(of: type)])
        try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: type), "#")], litter: litter)
        #expect(await publisher.publish(encoded: [event(type)]) == [.confirmed])

        try setAlarm()
        let outcomes: [PublishOutcome]
        let elapsed: Duration
        do {
          let start = ContinuousClock.now
          // The broker says that it is blocked only when something is published: what goes out before is `unknown`.
          outcomes = try await withThrowingTaskGroup(of: PublishOutcome.self) { group in
            group.addTask { await publisher.publish(encoded: [event(type)])[0] }
            _ = await rabbit.publishing.status.wait(timeout: .seconds(5)) { $0.blockedReason != nil }
            #expect(rabbit.publishing.status.value.blockedReason != nil)
            for _ in 0..<200 { group.addTask { await publisher.publish(encoded: [event(type)])[0] } }
            return try await group.reduce(into: []) { $0.append($1) }
          }
          elapsed = .now - start
          try clearAlarm()
        } catch {
          try clearAlarm()
          throw error
        }
        #expect(elapsed < .seconds(7))
        let unknown = outcomes.count { if case .unknown = $0 { true } else { false } }
        let notPublished = outcomes.count { if case .notPublished = $0 { true } else { false } }
        #expect(unknown == 1)
        #expect(notPublished == 200)

        #expect(await rabbit.publishing.status.wait(timeout: .seconds(10)) { $0.blockedReason == nil } != nil)
        #expect(await publisher.publish(encoded: [event(type)]) == [.confirmed])
        // One before, the one that was written, one after: what was not written is not there.
        #expect(try await rabbit.waitForDepth(queue, 3))
      }
    }

    @Test func consumingAndDeclaringGoOnDuringTheAlarm() async throws {
      try await withTestBroker { rabbit, litter in
        let type = try litter.type()
        let service = unique()
        try litter.service(service, type)
        let got = Collected<Int>()
        let gate = Watched(false)
        let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
          OnRaw(type) { delivery, _ in
            _ = await gate.wait(timeout: .seconds(30)) { $0 }
            got.add(delivery.body.count)
          }
        }
        try await withSubscriber(subscriber) {
          let publisher = Publisher(rabbit, source: "tests")
          let events = (0..<500).map { _ in event(type) }
          #expect(await publisher.publish(encoded: events).allSatisfy(\.isConfirmed))
          try setAlarm()
          do {
            async let blocked = publisher.publish(encoded: [event(type)])
            _ = await rabbit.publishing.status.wait(timeout: .seconds(5)) { $0.blockedReason != nil }
            gate.update { $0 = true }
            #expect(await got.wait(for: 500, timeout: .seconds(20)) != nil)
            let other = unique()
            try await rabbit.testQueue(other, litter: litter)
            try clearAlarm()
            #expect(await blocked == [.confirmed])
          } catch {
            try clearAlarm()
            throw error
          }
          #expect(await got.wait(for: 501) != nil)
        }
      }
    }
  }
}
