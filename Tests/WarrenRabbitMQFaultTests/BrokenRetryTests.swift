import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension BrokenBroker {
  /// Retries while something is wrong with the broker itself.
  @Suite(.serialized) struct BrokenRetryTests {
    private struct Note: Event {
      static let eventType: EventType = "retried.note"
      var number: Int
    }
    private struct NotYet: Error {}

    /// What a handler that fails in its first round was given.
    private struct Run: Sendable {
      var number: Int
      var round: Int
      var at = ContinuousClock.now
    }

    private func subscriber(
      _ rabbit: RabbitMQ, _ service: String, rung: Duration = .milliseconds(100), concurrency: Int = 16,
      _ runs: Collected<Run>
    ) throws -> Subscriber {
      var options = Subscriber.Options()
      (options.prefetch, options.concurrency) = (concurrency, concurrency)
      options.retryLadder = [rung]
      options.retry = RetryPolicy(delays: [rung])
      return Subscriber(rabbit, service: try ServiceName(service), options: options) {
        On(Note.self) { note, context in
          runs.add(Run(number: note.number, round: context.attempt))
          if context.attempt == 1 { throw NotYet() }
        }
      }
    }

    private func names(_ service: String, _ litter: Litter, rung: Duration) throws -> (work: String, rung: String) {
      let owner = try QueueOwner(service: ServiceName(service))
      try litter.service(service, Note.eventType)
      litter.exchange(EntityNames.exchange(of: Note.eventType))
      let name = EntityNames.retryRung(of: owner, delay: rung)
      litter.queue(name)
      litter.exchange(name)
      return (EntityNames.workQueue(of: owner, type: Note.eventType), name)
    }

    /// The retry copies wait with the connection, and so do the originals: no more handlers start than there are workers.
    @Test func anAlarmHoldsTheRetriesBackAndWithThemTheEvents() async throws {
      func alarm(_ verb: String, _ what: String) throws { try TestBroker.ctl("eval", "rabbit_alarm:\(verb)(\(what)).") }
      try await withTestBroker { rabbit, litter in
        let service = unique("alarmed")
        let queue = try names(service, litter, rung: .milliseconds(100)).work
        let runs = Collected<Run>()
        let subscriber = try subscriber(rabbit, service, concurrency: 4, runs)
        let owner = try QueueOwner(service: ServiceName(service))
        try await rabbit.topology.redeclare(TopologyEntity.subscription(owner, Note.eventType, .init()))
        try await Publisher(rabbit, source: "tests").publish(contentsOf: (0..<20).map { Note(number: $0) })
        try alarm("set_alarm", "{{resource_limit,memory,node()},[]}")
        do {
          try await withSubscriber(subscriber) {
            #expect(await runs.wait(for: 4) != nil)
            #expect(await rabbit.publishing.status.wait(timeout: .seconds(5)) { $0.blockedReason != nil } != nil)
            // Long enough for more, if there were any.
            _ = await runs.wait(for: 5, timeout: .seconds(2))
            #expect(runs.all.count == 4)
            try alarm("clear_alarm", "{resource_limit,memory,node()}")
            #expect(await runs.wait(for: 40, timeout: .seconds(20)) != nil)
            #expect(try await rabbit.waitForDepth(queue, 0))
          }
        } catch {
          try alarm("clear_alarm", "{resource_limit,memory,node()}")
          throw error
        }
        for round in 1...2 {
          #expect(runs.all.filter { $0.round == round }.map(\.number).sorted() == Array(0..<20))
        }
        #expect(try await rabbit.depth(queue) == 0)
      }
    }

    /// The time to live goes on by the clock on the wall: what is due when the broker is back comes at once.
    @Test func theBrokerIsAwayDuringTheDelay() async throws {
      let rung = Duration.seconds(4)
      try await withTestBroker { rabbit, litter in
        let service = unique("away")
        let names = try names(service, litter, rung: rung)
        let runs = Collected<Run>()
        try await withSubscriber(try subscriber(rabbit, service, rung: rung, runs)) {
          // RabbitMQ 3.x writes what was declared to its disk log with a delay of some two seconds: the rung must be there, too.
          let publisher = Publisher(rabbit, source: "tests")
          try await publisher.publish(Note(number: 0))
          #expect(await runs.wait(for: 2, timeout: .seconds(20)) != nil)
          try await publisher.publish(Note(number: 1))
          #expect(await runs.wait(for: 3) != nil)
          #expect(try await rabbit.waitForDepth(names.rung, 1))
          let failed = runs.all[2].at
          let broker = try #require(TestBroker.processID)
          kill(broker, SIGKILL)
          try TestBroker.restart()
          let back = ContinuousClock.now
          // Where the broker's worker forwards it before the work queue has a leader again, it looks a second time after 180 s
          // (dead_letter_worker_publisher_confirm_timeout).
          let all = try #require(await runs.wait(for: 4, timeout: .seconds(210)))
          #expect(all[3].number == 1 && all[3].round == 2)
          #expect(all[3].at - failed >= rung)
          #expect(all[3].at - max(back, failed + rung) < .seconds(190))
          #expect(try await rabbit.waitForDepth(names.work, 0))
        }
        #expect(runs.all.count == 4)
        #expect(try await rabbit.depth(names.work) == 0)
        #expect(try await rabbit.depth(names.rung) == 0)
      }
    }

    /// The delay is over and the work queue is gone: the event stays in the rung, and comes when the queue is back. The broker
    /// looks every 180 s; here every second.
    @Test func theWorkQueueIsGoneWhenTheDelayIsOver() async throws {
      func look(every milliseconds: Int) throws {
        try TestBroker.ctl(
          "eval",
          "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, \(milliseconds)).")
      }
      try look(every: 1000)
      do {
        try await withTestBroker { rabbit, litter in
          let service = unique("gone")
          let rung = Duration.seconds(3)
          let names = try names(service, litter, rung: rung)
          let runs = Collected<Run>()
          try await withSubscriber(try subscriber(rabbit, service, rung: rung, runs)) {
            try await Publisher(rabbit, source: "tests").publish(contentsOf: (0..<5).map { Note(number: $0) })
            #expect(await runs.wait(for: 5) != nil)
            #expect(try await rabbit.waitForDepth(names.rung, 5))
          }
          try await rabbit.topology.perform(.deleteQueue(names.work))
          // Due, and on no way.
          #expect(try await rabbit.waitForDepth(names.rung, 0))
          try await withSubscriber(try subscriber(rabbit, service, rung: rung, runs)) {
            #expect(await runs.wait(for: 10, timeout: .seconds(20)) != nil)
            let isEmpty = try await rabbit.waitForDepth(names.work, 0)
            #expect(isEmpty)
          }
          // Sent again when the broker was not sure: at least once.
          #expect(Set(runs.all.filter { $0.round == 2 }.map(\.number)) == Set(0..<5))
          #expect(runs.all.count { $0.round == 1 } == 5)
        }
        try look(every: 180_000)
      } catch {
        try look(every: 180_000)
        throw error
      }
    }
  }
}
