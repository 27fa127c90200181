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
