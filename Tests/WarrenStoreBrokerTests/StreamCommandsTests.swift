import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore

/// `warrenctl store …`.
struct StreamCommandsTests {
  private struct Ended: Sendable {
    var status: Int32
    var lines: [String]
    func object(_ index: Int = 0) -> [String: Any] {
      guard lines.indices.contains(index) else { return [:] }
      return (try? JSONSerialization.jsonObject(with: Data(lines[index].utf8))) as? [String: Any] ?? [:]
    }
  }

  private func store(_ arguments: [String], input: String = "") async -> Ended {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        let program = Bundle.main.executableURL?.deletingLastPathComponent().appending(path: "warrenctl").path ?? ""
        let result = try? TestBroker.run([program, "store"] + arguments, input: Data(input.utf8))
        continuation.resume(
          returning: Ended(
            status: result?.status ?? -1, lines: (result?.output ?? "").split(separator: "\n").map(String.init)))
      }
    }
  }

  @Test func linesAreAppendedReadListedFoldedAndVerified() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let file = "\(folder.path)/cli.sqlite"
    let appended = await store(
      [
        "append", "account-1", "account.opened", "--expect", "none", "--request", "r", "--actor", "bo", "--store", file,
      ],
      input: #"{"owner":"Bo","cents":0}"# + "\n")
    #expect(appended.status == 0 && appended.object()["version"] as? Int == 1)
    let again = await store(
      ["append", "account-1", "account.opened", "--expect", "none", "--request", "r", "--store", file], input: "{}\n")
    #expect(again.status == 0 && again.object()["repeat"] as? Bool == true)
    let conflict = await store(
      ["append", "account-1", "account.opened", "--expect", "none", "--store", file], input: "{}\n")
    #expect(conflict.status == 65 && conflict.lines.isEmpty)
    let bad = await store(["append", "account-1", "account.moved", "--store", file], input: "{\"cents\":1}\nno json\n")
    #expect(bad.status == 65)
    let more = await store(
      ["append", "account-1", "account.moved", "--expect", "1", "--store", file],
      input: "{\"cents\":1}\n{\"cents\":2,\"note\":\"x\"}\n")
    #expect(more.object()["version"] as? Int == 3 && more.object()["last"] as? Int == 3)
    _ = await store(
      ["append", "account-2", "account.opened", "--store", file, "--publish"], input: "{\"owner\":\"Al\"}\n")

    let streams = await store(["streams", "--store", file])
    #expect(streams.lines.count == 2 && streams.object(0)["stream"] as? String == "account-1")
    #expect(await store(["streams", "--prefix", "account-2", "--store", file]).lines.count == 1)

    let all = await store(["read", "--store", file])
    #expect(all.lines.count == 4)
    #expect(all.object(0)["actor"] as? String == "bo" && all.object(0)["public"] as? Bool == false)
    #expect((all.object(2)["event"] as? [String: Any])?["note"] as? String == "x")
    #expect(all.object(3)["public"] as? Bool == true)
    let filtered = await store(
      ["read", "--stream", "account-1", "--type", "account.moved", "--from-version", "3", "--bodies", "--store", file])
    #expect(filtered.lines == [#"{"cents":2,"note":"x"}"#])
    let last = await store(["read", "--backwards", "--limit", "1", "--store", file])
    #expect(last.object()["position"] as? Int == 4)
    #expect(await store(["read", "--since", "2999-01-01T00:00:00Z", "--store", file]).lines.isEmpty)

    let state = await store(["state", "account-1", "--store", file])
    #expect((state.object()["state"] as? [String: Any])?["owner"] as? String == "Bo")
    #expect((state.object()["state"] as? [String: Any])?["cents"] as? Int == 2)
    let earlier = await store(["state", "account-1", "--version", "2", "--store", file])
    #expect((earlier.object()["state"] as? [String: Any])?["cents"] as? Int == 1)
    #expect(await store(["state", "account-1", "--at", "1999-01-01T00:00:00Z", "--store", file]).status == 65)

    let readers = await store(["readers", "--store", file])
    #expect(readers.lines.contains { $0.contains(#""reader":"relay""#) })
    #expect(readers.object()["behind"] as? Int == 1 && readers.object()["head"] as? Int == 4)

    let verified = await store(["verify", "--store", file])
    #expect(
      verified.status == 0 && verified.object()["events"] as? Int == 4 && verified.object()["streams"] as? Int == 2)
    // What is wrong is found.
    let log = try EventLog(path: file, source: "tests")
    try await log.database.write { try $0.execute(sql: "UPDATE warren_events SET version = 9 WHERE position = 3") }
    let broken = await store(["verify", "--store", file])
    #expect(broken.status == 65)
    #expect((broken.object()["problems"] as? [String])?.first?.contains("version 9") == true)
    #expect(broken.object()["checksum"] as? String != verified.object()["checksum"] as? String)
  }

  /// Owners by account; cannot take one whom it does not like.
  private struct Owners: Projection {
    let name = "owners"
    var version = 1
    let eventTypes: [EventType] = ["account.opened"]
    struct Unwanted: Error {}
    func create(_ context: ProjectionContext) throws {
      try context.db.execute(sql: "CREATE TABLE \(context.table("owners")) (stream TEXT, owner TEXT)")
    }
    func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
      let text = String(decoding: event.body, as: UTF8.self)
      if text.contains("Eve") { throw Unwanted() }
      try context.db.execute(
        sql: "INSERT INTO \(context.table("owners")) VALUES (?, ?)", arguments: [event.stream.name, text])
    }
  }

  @Test func readersAreListedWithHowFarTheyAreBehind() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let file = "\(folder.path)/cli.sqlite"
    func append(_ stream: String, _ type: String, _ body: String) async {
      let done = await store(["append", stream, type, "--store", file], input: body + "\n")
      #expect(done.status == 0)
    }
    func line(_ reader: String, _ version: Int? = nil) async -> [String: Any] {
      let ended = await store(["readers", "--store", file])
      let objects = ended.lines.indices.map { ended.object($0) }
      return objects.first { $0["reader"] as? String == reader && $0["version"] as? Int == version } ?? [:]
    }
    func isLive(_ version: Int, _ log: EventLog) async throws -> Bool {
      try await log.projections().contains { $0.version == version && $0.isLive }
    }
    await append("a", "account.opened", #"{"owner":"Bo"}"#)
    let log = try EventLog(path: file, source: "tests")
    var options = Projector.Options()
    options.poison = .skip
    for version in 1...2 {
      // The first one leaves out what the second one stands before.
      if version == 2 { options.poison = .stop }
      let projector = log.projector(Owners(version: version), options: options)
      let running = Task { try await projector.run() }
      let end = ContinuousClock.now + .seconds(20)
      if version == 1 {
        while ContinuousClock.now < end, try await !isLive(1, log) { try await Task.sleep(for: .milliseconds(5)) }
        await append("b", "account.opened", #"{"owner":"Eve"}"#)
        try await log.wait(for: Owners(), reached: LogPosition(rawValue: 2))
      } else {
        while ContinuousClock.now < end, projector.status != .stopped { try await Task.sleep(for: .milliseconds(5)) }
      }
      running.cancel()
      try await running.value
    }
    // Of three, two are of its type.
    await append("a", "account.opened", #"{"owner":"Cy"}"#)
    await append("a", "account.closed", "{}")
    await append("a", "account.opened", #"{"owner":"Di"}"#)
    let (live, building) = (await line("projection owners", 1), await line("projection owners", 2))
    #expect(live["live"] as? Bool == true && live["position"] as? Int == 2 && live["head"] as? Int == 5)
    #expect(live["behind"] as? Int == 2 && (live["age"] as? Double ?? -1) >= 0 && live["problem"] == nil)
    #expect(live["poisoned"] as? [String: Int] == ["skipped": 1])
    #expect(building["live"] as? Bool == false && building["position"] as? Int == 1)
    #expect(building["behind"] as? Int == 3)
    #expect((building["problem"] as? String)?.hasPrefix("position 2, account.opened") == true)
    #expect((await line("relay"))["behind"] as? Int == 0)
  }

  @Test func whatCannotBeDoneHasItsExitCode() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let file = "\(folder.path)/cli.sqlite"
    #expect(await store(["read", "--store", file]).status == 74)
    _ = await store(["append", "a", "a.b", "--store", file], input: "{}\n")
    #expect(await store(["read", "--from-version", "1", "--store", file]).status == 64)
    #expect(await store(["read", "--since", "yesterday", "--store", file]).status == 64)
    #expect(await store(["append", "a", "A B", "--store", file], input: "{}\n").status == 64)
    #expect(await store(["append", "a", "a.b", "--expect", "some", "--store", file], input: "{}\n").status == 64)
    #expect(
      await store([
        "replay", "--to", "nobody", "--store", file, "--private", "--wait", "1", "--url", "amqp://127.0.0.1:1",
      ]).status
        == 69)
  }

  @Test func replayGoesToTheQueuesOfOneService() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let file = "\(folder.path)/cli.sqlite"
    try await withTestBroker { rabbit, litter in
      let type = try litter.type("replayed")
      let service = unique("late")
      try litter.service(service, type)
      let queue = "\(service).\(type)"
      let broker = ["--url", TestBroker.url]
      let lines = (0..<10).map { "{\"id\":\($0)}\n" }.joined()
      _ = await store(["append", "a", type.name, "--store", file, "--publish"], input: lines)
      let missing = await store(["replay", "--to", service, "--store", file] + broker)
      #expect(missing.status == 69)
      try await rabbit.testQueue(queue, bound: [], litter: litter)
      let replayed = await store(["replay", "--to", service, "--store", file, "--from", "4", "--id", "again"] + broker)
      #expect(replayed.status == 0)
      #expect(replayed.object()["events"] as? Int == 7 && replayed.object()["replay"] as? String == "again")
      #expect(try await rabbit.waitForDepth(queue, 7))
    }
  }
}
