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

/// A cluster of three nodes under load, of which one is killed. `WARREN_TEST_CLUSTER` is a program with the verbs `url` and
/// `node`, as `scripts/cluster` has them.
@Suite(
  .serialized,
  .enabled(
    if: ProcessInfo.processInfo.environment["WARREN_TEST_CLUSTER"] != nil,
    "needs WARREN_TEST_CLUSTER: run scripts/torture cluster"))
struct ClusterTests {
  private func cluster(_ arguments: String...) throws -> String {
    let program = try #require(ProcessInfo.processInfo.environment["WARREN_TEST_CLUSTER"])
    let result = try TestBroker.run([program] + arguments)
    guard result.status == 0 else { throw TestBroker.Failed(text: "\(arguments): \(result.output)") }
    return result.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The number of the node that leads a queue.
  private func leader(of queue: String, askedOn node: Int = 1) throws -> Int {
    let lines = try cluster("node", "\(node)", "ctl", "-q", "list_queues", "name", "leader").split(separator: "\n")
    let line = try #require(lines.first { $0.hasPrefix("\(queue)\t") })
    let name = try #require(line.split(separator: "\t").last)
    return try #require(Int(String(name.dropFirst("warren".count).prefix(1))))
  }

  private func configuration() throws -> RabbitMQConfiguration {
    var configuration = try RabbitMQConfiguration(url: cluster("url"))
    configuration.heartbeat = .seconds(1)
    configuration.connectTimeout = .seconds(2)
    configuration.publishing.timeout = .seconds(60)
    return configuration
  }

  private func port(ofNode number: Int) throws -> Int { try configuration().hosts[number - 1].port }

  /// The node that leads the queue dies: another one leads, and whoever was connected there connects elsewhere.
  @Test func theLeaderOfTheQueueIsKilled() async throws {
    for _ in 0..<3 {
      try await Load.run(configuration()) { load in
        let leader = try leader(of: load.queue)
        let process = try #require(Int32(cluster("node", "\(leader)", "pid")))
        kill(process, SIGKILL)
        let took = try await load.timeToResume(within: .seconds(60))
        print("the leader was killed: resumed after \(took)")
        #expect(load.ledger.value.failed.isEmpty, "\(load.ledger.value.failed.first.map { "\($0)" } ?? "")")
        // Two nodes lead, confirm and deliver without the third.
        #expect(took < .seconds(15), "\(took)")
        _ = try cluster("node", "\(leader)", "start")
        let again = try await load.timeToResume()
        #expect(again < .seconds(5), "\(again)")
      }
    }
  }

  private struct Failing: Event {
    static let eventType: EventType = "cluster.failing"
    var number: Int
  }
  private struct NotYet: Error {}

  /// Two nodes of three stand still: no queue has a majority, no retry copy is confirmed, and so no original is acknowledged.
  @Test func theRungHasNoMajority() async throws {
    try await withRabbitMQ(configuration()) { rabbit in
      let litter = Litter()
      let service = unique("minority")
      let owner = try QueueOwner(service: ServiceName(service))
      let rung = Duration.seconds(1)
      try litter.service(service, Failing.eventType)
      litter.exchange(EntityNames.exchange(of: Failing.eventType))
      litter.queue(EntityNames.retryRung(of: owner, delay: rung))
      litter.exchange(EntityNames.retryRung(of: owner, delay: rung))
      let (runs, gate) = (Collected<Int>(), Watched(false))
      var options = Subscriber.Options()
      options.retryLadder = [rung]
      options.retry = RetryPolicy(delays: [rung])
      let subscriber = Subscriber(rabbit, service: try ServiceName(service), options: options) {
        On(Failing.self) { event, context in
          runs.add(context.attempt)
          guard context.attempt == 1 else { return }
          // The first has made the rung.
          if event.number > 0 { _ = await gate.wait { $0 } }
          throw NotYet()
        }
      }
      try await withSubscriber(subscriber) {
        let publisher = Publisher(rabbit, source: "tests")
        try await publisher.publish(Failing(number: 0))
        #expect(await runs.wait(for: 2, timeout: .seconds(20)) != nil)
        try await publisher.publish(contentsOf: (1...10).map { Failing(number: $0) })
        #expect(await runs.wait(for: 12) != nil)
        let info = try await rabbit.consuming.whenOpen(timeout: .seconds(1))
        let others = try (1...3).filter { try port(ofNode: $0) != info.port }
          .map { try #require(Int32(cluster("node", "\($0)", "pid"))) }
        for process in others { kill(process, SIGSTOP) }
        defer { for process in others { kill(process, SIGCONT) } }
        gate.update { $0 = true }
        // Long enough for the copies, if a minority confirmed them.
        #expect(await runs.wait(for: 13, timeout: .seconds(5)) == nil)
        for process in others { kill(process, SIGCONT) }
        // Sent again when the confirm was lost: at least once.
        let all = await runs.wait(for: 22, timeout: .seconds(60))
        #expect((all ?? runs.all).count { $0 == 2 } >= 11)
        let work = EntityNames.workQueue(of: owner, type: Failing.eventType)
        #expect(try await rabbit.waitForDepth(work, 0, timeout: .seconds(20)))
        let dead = EntityNames.deadLetterQueue(of: owner, type: Failing.eventType)
        #expect(try await rabbit.depth(dead) == 0)
      }
      await litter.clear(rabbit)
    }
  }

  /// The node that the client is connected to dies, whatever it leads.
  @Test func theNodeOfTheConnectionIsKilled() async throws {
    try await Load.run(configuration()) { load in
      let info = try await load.rabbit.consuming.whenOpen(timeout: .seconds(1))
      let node = try #require(try (1...3).first { try port(ofNode: $0) == info.port })
      let process = try #require(Int32(cluster("node", "\(node)", "pid")))
      kill(process, SIGKILL)
      let took = try await load.timeToResume(within: .seconds(60))
      print("the connection's node was killed: resumed after \(took)")
      #expect(took < .seconds(15), "\(took)")
      #expect(load.ledger.value.failed.isEmpty)
      _ = try cluster("node", "\(node)", "start")
      let now = try await load.rabbit.consuming.whenOpen(timeout: .seconds(5))
      #expect(now.port != info.port)
    }
  }
}
