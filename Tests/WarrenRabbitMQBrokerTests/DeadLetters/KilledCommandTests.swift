import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Dead letters are listed, edited, replayed and discarded by commands of which some are killed: at the end every event is
/// where it was sent, or in the record of what was discarded.
///
/// The long form: `scripts/torture dead`.
struct KilledCommandTests {
  private static func number(_ name: String, _ otherwise: Int) -> Int {
    ProcessInfo.processInfo.environment[name].flatMap(Int.init) ?? otherwise
  }
  private let letters = number("WARREN_DEAD_LETTERS", 600)
  private let listings = number("WARREN_DEAD_LISTINGS", 5)
  /// In this order, one after the other.
  private static let verbs = ["replay", "edit", "discard", "list", "replay"]
  private let kills = (0..<number("WARREN_DEAD_KILLS", 2)).map { verbs[$0 % verbs.count] }

  private static let causes = ["handlerFailed", "undecodable", "rejected"]

  @Test func nothingIsLost() async throws {
    let type = freshType("dead")
    let record = FileManager.default.temporaryDirectory.appending(path: unique("record")).path
    defer { unlink(record) }
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      let ids = try await put(service, type)
      try await list(service, type, ids)
      try await edit(service, type, record, ids)
      try await discard(service, type, record, ids)
      try await replay(service, type, ids)
    }
  }

  /// One of thirty is there twice, one of fifty has headers that nobody can read. Their ids, in order.
  private func put(_ service: TestService, _ type: EventType) async throws -> [String] {
    let queue = try service.deadLetters(type)
    let client = try PlainClient()
    var ids: [String] = []
    for i in 0..<letters {
      let id = i % 30 == 29 ? "\(i - 1)" : "\(i)"
      if i % 50 == 10 {
        var table = RawTable()
        table.add("deep", "F", RawTable.nested(40).bytes)
        table.add("warren-dead-reason", "S", RawTable.counted(Array(Self.cause(of: id).utf8)))
        let properties = [0x30, 0x80] + table.bytes + [2, UInt8(id.utf8.count)] + Array(id.utf8)
        try client.publish(rawProperties: properties, body: Array(#"{"id":"\#(id)"}"#.utf8), routingKey: queue)
      } else {
        try await service.putLetter(id, type, cause: Self.cause(of: id))
      }
      ids.append(id)
    }
    return ids
  }

  private static func cause(of id: String) -> String { causes[(Int(id) ?? 0) % causes.count] }

  /// Runs the command, killed as often as it is its turn, when `isDue` says so; then to its end.
  private func run(
    _ verb: String, _ service: TestService, _ type: EventType, _ arguments: [String],
    whenItHas isDue: (_ time: Int) async throws -> Bool
  ) async throws -> Command.Ended {
    let words = ["dead", verb, "--service", service.name.name, "--type", type.name] + arguments
    // Slow enough to be seen at work: a look at a queue may take as long as all of it.
    let slowly = verb == "list" || arguments.contains("--rate") ? [] : ["--rate", "\(max(200, letters / 4))"]
    for time in 0..<kills.count(where: { $0 == verb }) {
      let command = Command(words + slowly)
      let wasDue = try await eventually(timeout: .seconds(60)) {
        if command.isOver { return true }
        return try await isDue(time)
      }
      #expect(wasDue)
      #expect(!command.isOver, "\(verb) was over before it could be killed")
      await command.signal(SIGKILL)
      #expect(await command.ended().status == SIGKILL)
    }
    return await Command.run(words)
  }

  private func ids(of type: EventType, _ service: TestService) async throws -> [String] {
    var ids: [String] = []
    try await service.dead().forEach(of: .type(type)) {
      ids.append($0.id)
      return true
    }
    return ids
  }

  private func list(_ service: TestService, _ type: EventType, _ ids: [String]) async throws {
    let queue = try service.deadLetters(type)
    for listing in 1...listings {
      let ended =
        listing > 1
        ? await service.dead("list", type, "--json")
        : try await run("list", service, type, ["--json"]) { _ in try await service.rabbit.consumers(of: queue) > 0 }
      #expect(ended.status == 0, "\(ended.errors)")
      let groups = ended.objects
      #expect(groups.compactMap { $0["letters"] as? Int }.reduce(0, +) == ids.count, "listing \(listing)")
      #expect(groups.compactMap { $0["events"] as? Int }.reduce(0, +) == Set(ids).count)
      #expect(Set(groups.compactMap { $0["cause"] as? String }) == Set(Self.causes))
    }
    #expect(try await service.rabbit.waitForDepth(queue, ids.count))
    #expect(try await self.ids(of: type, service) == ids)
  }

  private func edit(_ service: TestService, _ type: EventType, _ record: String, _ ids: [String]) async throws {
    let goal = ids.count { Self.cause(of: $0) == "undecodable" } / 2
    let ended = try await run(
      "edit", service, type, ["--cause", "undecodable", "--set", "fixed=true", "--record", record]
    ) { _ in
      (try? String(contentsOfFile: record, encoding: .utf8))?.utf8.count { $0 == 0x0a } ?? 0 > goal
    }
    #expect(ended.status == 0, "\(ended.errors)")
    var found: Set<String> = []
    try await service.dead().forEach(of: .type(type)) { letter in
      found.insert(letter.id)
      let isFixed = String(decoding: letter.body, as: UTF8.self).contains(#""fixed":true"#)
      #expect(isFixed == (letter.cause == "undecodable"), "\(letter.id)")
      return true
    }
    #expect(found == Set(ids))
  }

  private func discard(_ service: TestService, _ type: EventType, _ record: String, _ ids: [String]) async throws {
    let unwanted = Set(ids.filter { Self.cause(of: $0) == "rejected" })
    try? FileManager.default.removeItem(atPath: record)
    let ended = try await run("discard", service, type, ["--cause", "rejected", "--rate", "400", "--record", record]) {
      _ in
      (try? String(contentsOfFile: record, encoding: .utf8))?.utf8.count { $0 == 0x0a } ?? 0 > unwanted.count / 3
    }
    #expect(ended.status == 0, "\(ended.errors)")
    let lines = try String(contentsOfFile: record, encoding: .utf8).split(separator: "\n")
    let recorded = try lines.map { line in
      let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      return try #require((object?["letter"] as? [String: Any])?["id"] as? String)
    }
    #expect(Set(recorded) == unwanted)
    #expect(Set(try await self.ids(of: type, service)) == Set(ids).subtracting(unwanted))
  }

  private func replay(_ service: TestService, _ type: EventType, _ ids: [String]) async throws {
    let wanted = Set(ids.filter { Self.cause(of: $0) != "rejected" })
    let (dead, work) = (try service.deadLetters(type), try service.workQueue(type))
    let times = kills.count { $0 == "replay" }
    let ended = try await run("replay", service, type, ["--all"]) { time in
      try await service.rabbit.depth(work) > wanted.count * (time + 1) / (times + 2)
    }
    #expect(ended.status == 0, "\(ended.errors)")
    #expect(try await service.rabbit.waitForDepth(dead, 0))
    let count = try await service.rabbit.depth(work)
    let letters = try await service.rabbit.take(from: work, count: count, timeout: .seconds(60))
    #expect(Set(letters.compactMap { $0.properties?.messageID ?? RawID.of($0) }) == wanted)
    for letter in letters where letter.properties != nil {
      let isFixed = letter.text.contains(#""fixed":true"#)
      #expect(isFixed == (letter.cause == "undecodable"))
    }
    // Once, but for what was under way when a command was killed: confirmed and not yet acknowledged.
    #expect(count <= wanted.count + kills.count * 150)
  }

  /// Of those whose headers nobody can read, the id in the body.
  private enum RawID {
    static func of(_ letter: LookedAt) -> String? {
      let body = try? JSONSerialization.jsonObject(with: letter.body) as? [String: Any]
      return body?["id"] as? String
    }
  }
}
