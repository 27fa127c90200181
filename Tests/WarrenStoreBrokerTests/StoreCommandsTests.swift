import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore
import WarrenSupport

/// `warrenctl` over a store: what it prints and how it ends.
struct StoreCommandsTests {
  struct Ended: Sendable {
    var status: Int32
    var lines: [String]
    /// The only line, as JSON.
    var object: [String: Double] {
      let value = lines.first.flatMap { try? JSONSerialization.jsonObject(with: Data($0.utf8)) } as? [String: Any]
      return value?.compactMapValues { ($0 as? NSNumber)?.doubleValue } ?? [:]
    }
  }

  /// On a thread of its own: waiting for a process blocks.
  private func warrenctl(_ arguments: [String], input: String = "") async -> Ended {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        let program = Bundle.main.executableURL?.deletingLastPathComponent().appending(path: "warrenctl").path ?? ""
        let result = try? TestBroker.run([program] + arguments, input: Data(input.utf8))
        continuation.resume(
          returning: Ended(
            status: result?.status ?? -1, lines: (result?.output ?? "").split(separator: "\n").map(String.init)))
      }
    }
  }

  @Test func linesAreRecordedRelayedHeldTriedAgainAndDiscarded() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let store = "\(folder.path)/cli.sqlite"
    try await withTestBroker { rabbit, litter in
      let type = try litter.type("cli")
      let queue = unique("cli")
      let broker = ["--url", TestBroker.url]
      try await run(store, type, queue, broker, rabbit, litter)
    }
  }

  private func run(
    _ store: String, _ type: EventType, _ queue: String, _ broker: [String], _ rabbit: RabbitMQ, _ litter: Litter
  ) async throws {
    let lines = (0..<10).map { #"{"id":\#($0)}"# }.joined(separator: "\n")
    let recorded = await warrenctl(
      ["publish", type.name, "--store", store, "--no-relay", "--key", "id", "--json"] + broker,
      input: lines + "\nno json\n")
    #expect(recorded.status == 65)
    #expect(recorded.object["recorded"] == 10 && recorded.object["bad"] == 1)

    let status = await warrenctl(["outbox", "status", "--store", store, "--json"])
    #expect(status.status == 0)
    #expect(status.object["backlog"] == 10 && status.object["head"] == 10 && status.object["checkpoint"] == 0)

    #expect(status.object["backlogBytes"] == 80 && status.object["scheduled"] == 0 && status.object["rate"] == 0)
    #expect((status.object["oldestAgeSeconds"] ?? -1) >= 0 && (status.object["walBytes"] ?? 0) > 0)
    #expect(status.object["healthy"] == 1 && status.object["relayProcess"] == nil)

    // Nobody is bound.
    let relayed = await warrenctl(["relay", "--store", store, "--once", "--wait", "3"] + broker)
    #expect(relayed.status == 75)
    let held = await warrenctl(["outbox", "list", "--store", store])
    #expect(held.lines.count == 10)
    #expect(held.lines.allSatisfy { $0.contains(#""reason":"unroutable""#) && $0.contains(type.name) })
    let shown = await warrenctl(["outbox", "show", "--store", store, "--id", "3"])
    #expect(shown.lines.count == 1 && shown.lines[0].contains(#""event":{"id":2}"#))

    let discarded = await warrenctl(["outbox", "discard", "--store", store, "--id", "1", "2"])
    #expect(discarded.status == 0)
    try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: type), "#")], litter: litter)
    let retried = await warrenctl(["outbox", "retry", "--store", store, "--all"])
    #expect(retried.status == 0)
    let again = await warrenctl(["relay", "--store", store, "--once"] + broker)
    #expect(again.status == 0)
    #expect(try await rabbit.waitForDepth(queue, 8))

    let published = await warrenctl(["publish", type.name, "--store", store, "--json"] + broker, input: "{}\n{}\n")
    #expect(published.status == 0)
    #expect(published.object["confirmed"] == 2)
    #expect(try await rabbit.waitForDepth(queue, 10))
    let end = await warrenctl(["outbox", "status", "--store", store, "--json"])
    #expect(end.object["backlog"] == 0 && end.object["dropped"] == 2)
  }

  @Test func whatCannotBeDoneHasItsExitCode() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    #expect(await warrenctl(["outbox", "status", "--store", "\(folder.path)/none.sqlite"]).status == 74)
    try Data(repeating: 0x41, count: 8192).write(to: URL(filePath: "\(folder.path)/text.sqlite"))
    #expect(await warrenctl(["outbox", "status", "--store", "\(folder.path)/text.sqlite"]).status == 74)
    let log = try folder.log("newer")
    try await log.database.write { try $0.execute(sql: "UPDATE warren_meta SET value = 99 WHERE name = 'version'") }
    #expect(await warrenctl(["outbox", "status", "--store", "\(folder.path)/newer.sqlite"]).status == 78)
    #expect(await warrenctl(["outbox", "discard", "--store", "\(folder.path)/newer.sqlite"]).status == 64)
    #expect(await warrenctl(["publish", "a.b", "--no-relay"], input: "{}").status == 64)
    // A broker that is away: recorded all the same, and said so.
    let away = await warrenctl(
      [
        "publish", "a.b", "--store", "\(folder.path)/away.sqlite", "--wait", "1", "--json", "--url",
        "amqp://127.0.0.1:1",
      ],
      input: "{}\n")
    #expect(away.status == 75)
    #expect(away.object["recorded"] == 1)
  }
}
