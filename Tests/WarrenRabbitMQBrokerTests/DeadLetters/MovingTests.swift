import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Replaying, editing and discarding dead letters.
struct DeadLetterMovingTests {
  private func withLetters(
    _ count: Int, _ body: (TestService, EventType) async throws -> Void
  ) async throws {
    let type = freshType("dead")
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      for i in 0..<count { try await service.putLetter("\(i)", type) }
      try await body(service, type)
    }
  }

  // MARK: Replay

  @Test func aReplayIsANewDeliveryOfTheOldEvent() async throws {
    try await withLetters(0) { service, type in
      try await service.putLetter(
        "a", type, body: #"{"n":1}"#,
        headers: [
          "x-death": .array([.table(["reason": "expired", "queue": "elsewhere"])]), "x-first-death-queue": "elsewhere",
          "CC": .array([.string(try service.deadLetters(type))]), "tenant": "blue", "warren-origin-user-id": "guest",
        ])
      let report = try await service.dead().replay(.type(type), .all)
      #expect(report.done == 1)
      let letter = try await service.rabbit.look(at: service.workQueue(type))[0]
      #expect(letter.exchange.isEmpty)
      #expect(letter.text == #"{"n":1}"#)
      #expect(letter.properties?.messageID == "a")
      // What the tries before have counted does not go along; why they failed does.
      for name in ["x-death", "x-first-death-queue", "CC", "warren-attempt"] { #expect(letter.headers[name] == nil) }
      #expect(letter.header("tenant") == "blue")
      #expect(letter.header("warren-last-error") == "no")
      #expect(letter.header("warren-first-failed-at") == "2026-01-01T00:00:00.000Z")
      #expect(letter.header("warren-origin-exchange") == EntityNames.exchange(of: type))
      // The copy by CC would be here.
      #expect(try await service.rabbit.depth(service.deadLetters(type)) == 0)

      let handled = Collected<String>()
      let subscriber = service.subscriber {
        OnRaw(type) { delivery, context in handled.add("\(delivery.type) \(context.metadata.id?.text ?? "")") }
      }
      try await whileConsuming(subscriber) { #expect(await handled.wait(for: 1) == ["\(type) a"]) }
    }
  }

  /// Handlers that fail again put it back behind the others: it is not replayed a second time.
  @Test func aReplayEndsAlthoughEverythingFailsAgain() async throws {
    try await withLetters(40) { service, type in
      let handled = Collected<String>()
      let subscriber = service.subscriber {
        OnRaw(type) { _, context in
          handled.add(context.metadata.id?.text ?? "")
          throw Refusal("again")
        }
      }
      try await whileConsuming(subscriber) {
        let report = try await service.dead().replay(.type(type), .all)
        #expect(report.done == 40 && report.repeats == 0)
        #expect(await handled.wait(for: 40)?.count == 40)
        #expect(Set(handled.all).count == 40)
        #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 40))
      }
      let groups = try await service.dead().groups(of: .type(type))
      #expect(groups.map(\.letters) == [40])
      #expect(groups.first?.reason == "again")
    }
  }

  @Test func aRepeatGoesWithTheFirstAndAnotherBodyDoesNot() async throws {
    try await withLetters(3) { service, type in
      try await service.putLetter("1", type)
      try await service.putLetter("1", type, body: "another")
      try await service.putLetter("1", type)
      let report = try await service.dead().replay(.type(type), .all)
      #expect(report.done == 6 && report.repeats == 2)
      #expect(try await service.ids(in: service.workQueue(type), count: 4) == ["0", "1", "2", "1"])
      #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 0))
    }
  }

  @Test func aDryRunChangesNothing() async throws {
    try await withLetters(5) { service, type in
      try await service.putLetter("1", type)
      let options = DeadLetters.Options(dryRun: true)
      #expect(try await service.dead().replay(.type(type), .all, options: options).chosen == 6)
      #expect(try await service.dead().replay(.type(type), .all, options: options).repeats == 1)
      let discarded = try await service.dead().discard(.type(type), .ids(["1"]), options: options) { _ in
        Issue.record("recorded")
      }
      #expect(discarded.chosen == 2 && discarded.done == 0)
      _ = try await service.dead().edit(.type(type), .all, options: options) { _ in
        Issue.record("recorded")
      } change: { _ in
        Issue.record("changed")
        return Data()
      }
      #expect(try await service.ids(in: service.deadLetters(type), count: 6) == ["0", "1", "2", "3", "4", "1"])
      #expect(try await service.rabbit.depth(service.workQueue(type)) == 0)
    }
  }

  @Test func withoutAWorkQueueTheyStay() async throws {
    try await withLetters(60) { service, type in
      try await service.rabbit.topology.perform(.deleteQueue(service.workQueue(type)))
      let report = try await service.dead().replay(.type(type), .all)
      guard case .refused(let text)? = report.stopped else {
        Issue.record("\(report)")
        return
      }
      #expect(text.contains("\"\(try service.workQueue(type))\" does not exist"))
      #expect(report.done == 0)
      #expect(try await service.ids(in: service.deadLetters(type), count: 60) == (0..<60).map { "\($0)" })
    }
  }

  @Test func whenTheWorkQueueIsFullTheRestStays() async throws {
    try await withLetters(60) { service, type in
      let work = try service.workQueue(type)
      try await service.rabbit.topology.perform(.deleteQueue(work))
      try await service.rabbit.testQueue(
        work, arguments: ["x-queue-type": "classic", "x-max-length": 10, "x-overflow": "reject-publish"],
        litter: service.litter)
      let report = try await service.dead().replay(.type(type), .all)
      guard case .later? = report.stopped else {
        Issue.record("\(report)")
        return
      }
      #expect(report.done == 10)
      #expect(try await service.ids(in: work, count: 10) == (0..<10).map { "\($0)" })
      #expect(try await service.ids(in: service.deadLetters(type), count: 50) == (10..<60).map { "\($0)" })
    }
  }

  @Test func itEndsWhenItIsToldTo() async throws {
    try await withLetters(60) { service, type in
      let report = try await service.dead().replay(.type(type), .all, options: .init(rate: 1000)) { $0.done < 20 }
      #expect(report.stopped == .asked)
      #expect(report.done == 20)
      #expect(try await service.ids(in: service.deadLetters(type), count: 40) == (20..<60).map { "\($0)" })
    }
  }

  @Test func aRateIsKept() async throws {
    try await withLetters(20) { service, type in
      let start = ContinuousClock.now
      let report = try await service.dead().replay(.type(type), .all, options: .init(rate: 40))
      #expect(report.done == 20)
      // 20 at 40 a second; only too fast would be wrong.
      #expect(ContinuousClock.now - start >= .milliseconds(490))
    }
  }

  /// Several types in one queue: each letter keeps its own.
  @Test func aGroupsLettersGoBackToTheGroup() async throws {
    let (opened, closed) = (freshType("opened"), freshType("closed"))
    try await withTestService(opened, closed) { service in
      let group = unique("group")
      let owner = try QueueOwner(service: service.name)
      let queues = [
        try EntityNames.groupQueue(of: owner, group: group),
        try EntityNames.groupDeadLetterQueue(of: owner, group: group),
      ]
      for queue in queues { service.litter.queue(queue) }
      let handled = Collected<String>()
      let subscriber = service.subscriber {
        OnRaw(opened, closed, queue: QueueOptions(group: group)) { delivery, _ in
          handled.add(delivery.type.name)
          if handled.all.count <= 2 { throw Refusal("no") }
        }
      }
      try await whileConsuming(subscriber) {
        for type in [opened, closed] {
          _ = await service.publisher.publish(encoded: [EncodedEvent(type, "{}".utf8)])
        }
        #expect(try await service.rabbit.waitForDepth(queues[1], 2))
        let groups = try await service.dead().groups(of: .group(group))
        #expect(Set(groups.compactMap(\.type)) == [opened, closed])
        #expect(try await service.dead().replay(.group(group), .all).done == 2)
        #expect(await handled.wait(for: 4)?.suffix(2).sorted() == [opened.name, closed.name].sorted())
      }
      let listed = await Command.run(["dead", "list", "--service", service.name.name, "--group", group])
      #expect(listed.status == 0 && listed.errors.contains("no dead letters of the group \(group)"))
    }
  }

  // MARK: Messages that Warren cannot read

  /// Nested deeper than Warren looks: a copy would lose some of it, so the broker moved it.
  @Test func whatCannotBeReadIsListedShownReplayedAndDiscarded() async throws {
    try await withLetters(0) { service, type in
      let dead = try service.deadLetters(type)
      let work = try service.workQueue(type)
      var table = RawTable()
      table.add("before", "S", RawTable.counted([0xff, 0xfe]))
      table.add("deep", "F", RawTable.nested(60).bytes)
      table.add("price", "D", [2, 0, 0, 1, 0])
      let id: [UInt8] = [4] + Array("id-1".utf8)
      let properties = [0x30, 0x80] + table.bytes + [2] + id
      try PlainClient().publish(rawProperties: properties, body: [0xff, 0x00, 0x1b], routingKey: dead)
      let fingerprint = try await fingerprintOfOneWithoutID(service, type)

      let groups = try await service.dead().groups(of: .type(type))
      #expect(groups.map(\.cause) == ["unknown"])
      #expect(groups.first?.letters == 2)
      var letters: [DeadLetter] = []
      try await service.dead().forEach(of: .type(type)) {
        letters.append($0)
        return true
      }
      #expect(letters.map(\.unreadable) == [["deep"], ["deep"]])
      #expect(letters.map(\.id) == ["id-1", fingerprint])
      #expect(Array(letters[0].body) == [0xff, 0x00, 0x1b])
      #expect(letters[0].metadata.headers["price"] == .double(2.56))

      #expect(try await service.dead().replay(.type(type), .ids(["id-1"])).done == 1)
      let raw = try await QueueLook.at(work, of: service.rabbit, count: 1) { messages, _ in messages[0] }
      #expect(Array(raw.body) == [0xff, 0x00, 0x1b])
      var expected = RawTable()
      expected.add("warren-seq", "l", Array(repeating: 0, count: 7) + [1])
      expected.add("before", "S", RawTable.counted([0xff, 0xfe]))
      expected.add("deep", "F", RawTable.nested(60).bytes)
      expected.add("price", "D", [2, 0, 0, 1, 0])
      // Header by header, because RabbitMQ 4 sorts them.
      #expect(try Self.headers(in: raw.properties) == Self.headers(in: [0x30, 0x80] + expected.bytes))
      #expect(raw.properties.starts(with: [0x30, 0x80]))
      #expect(raw.properties.suffix(1 + id.count) == [2] + id)
      #expect(raw.properties.count == 2 + expected.bytes.count + 1 + id.count)

      var recorded: [DeadLetter] = []
      #expect(try await service.dead().discard(.type(type), .ids([fingerprint])) { recorded += $0 }.done == 1)
      #expect(recorded.map(\.id) == [fingerprint])
      #expect(try await service.rabbit.waitForDepth(dead, 0))
    }
  }

  /// Each header's name, kind and value as bytes.
  private static func headers(in properties: [UInt8]) throws -> Set<[UInt8]> {
    var reader = FieldReader(properties)
    _ = try reader.number(2)
    let end = Int(try reader.number(4)) + reader.position
    var headers: Set<[UInt8]> = []
    while reader.position < end {
      let start = reader.position
      _ = try reader.shortString()
      try reader.skipFieldWhole()
      headers.insert(Array(properties[start..<reader.position]))
    }
    return headers
  }

  private func fingerprintOfOneWithoutID(_ service: TestService, _ type: EventType) async throws -> String {
    var table = RawTable()
    table.add("deep", "F", RawTable.nested(60).bytes)
    try PlainClient().publish(
      rawProperties: table.properties, body: Array("{}".utf8), routingKey: service.deadLetters(type))
    var id = ""
    try await service.dead().forEach(of: .type(type)) {
      if !$0.hasOwnID { id = $0.id }
      return true
    }
    return id
  }

  /// Headers so large that the reason had no room beside them: rejected to the broker, and replayed from there.
  @Test func whatTheBrokerMovedIsReplayedAndKnowsWhereItCameFrom() async throws {
    try await withLetters(0) { service, type in
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        OnRaw(type) { _, context in
          let size = context.metadata.headers["huge"]?.string?.utf8.count ?? -1
          handled.add(context.metadata.headers["x-death"] == nil ? size : -2)
          if handled.all.count < 2 { throw Refusal("no") }
        }
      }
      try await whileConsuming(subscriber) {
        try PlainClient().publish(
          Array("{}".utf8), routingKey: "some.key", exchange: EntityNames.exchange(of: type),
          headers: ["huge": .string(String(repeating: "h", count: 100_000))])
        #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 1))
        #expect(try await service.dead().groups(of: .type(type)).map(\.cause) == ["broker.rejected"])
        #expect(try await service.dead().replay(.type(type), .all).done == 1)
        #expect(await handled.wait(for: 2) == [100_000, 100_000])
      }
      #expect(try await service.rabbit.depth(service.deadLetters(type)) == 0)
    }
  }

  @Test func anotherUsersNameIsNoObstacle() async throws {
    try await withLetters(0) { service, type in
      // The broker takes it from the user itself; afterwards nobody else may publish it so.
      try await service.putLetter("1", type)
      try await service.put("{}", into: service.deadLetters(type)) {
        $0.userID = "guest"
        $0.messageID = "2"
        $0.expiration = "3600000"
      }
      #expect(try await service.dead().replay(.type(type), .all).done == 2)
      let letters = try await service.rabbit.look(at: service.workQueue(type), count: 2)
      #expect(letters.map(\.properties?.userID) == [nil, nil])
      #expect(letters.map(\.properties?.expiration) == [nil, nil])
      #expect(letters[1].header("warren-origin-user-id") == "guest")
    }
  }

  // MARK: Edit

  @Test func anEditedLetterGoesBehindTheOthersAndSaysSo() async throws {
    try await withLetters(3) { service, type in
      var old: [String] = []
      let report = try await service.dead().edit(.type(type), .ids(["1"])) {
        old.append(String(decoding: $0.body, as: UTF8.self))
      } change: { _ in
        Data(#"{"id":"fixed"}"#.utf8)
      }
      #expect(report.done == 1)
      #expect(old == [#"{"id":"1"}"#])
      #expect(try await service.ids(in: service.deadLetters(type), count: 3) == ["0", "2", "1"])
      let letter = try await service.rabbit.look(at: service.deadLetters(type), count: 3)[2]
      #expect(letter.text == #"{"id":"fixed"}"#)
      #expect(letter.cause == "handlerFailed")
      #expect(letter.header("warren-edited-at").flatMap { Date(rfc3339: $0) } != nil)
      #expect(letter.header("warren-edited-from")?.hasPrefix("10 bytes ~") == true)
      #expect(letter.headers["warren-attempt"] == 4)

      let replayed = try await service.dead().edit(.type(type), .ids(["0", "1"]), then: .replayed) { _ in
      } change: {
        $0.body + Data("\n".utf8)
      }
      #expect(replayed.done == 2)
      let work = try await service.rabbit.look(at: service.workQueue(type), count: 2)
      #expect(work.map(\.text) == ["{\"id\":\"0\"}\n", "{\"id\":\"fixed\"}\n"])
      #expect(work.map { $0.headers["warren-attempt"] } == [nil, nil])
      #expect(try await service.ids(in: service.deadLetters(type), count: 1) == ["2"])
    }
  }

  /// The broker's own words about a letter would not survive a publish.
  @Test func anEditKeepsWhyTheBrokerMovedIt() async throws {
    try await withLetters(0) { service, type in
      let source = unique("source")
      try await service.rabbit.testQueue(
        source,
        arguments: [
          "x-queue-type": "quorum", "x-message-ttl": 1, "x-dead-letter-exchange": "",
          "x-dead-letter-routing-key": .string(try service.deadLetters(type)),
        ], litter: service.litter)
      try await service.put("{}", into: source) { $0.messageID = "1" }
      #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 1))
      let before = try await service.dead().groups(of: .type(type))
      #expect(
        try await service.dead().edit(.type(type), .all, record: { _ in }, change: { _ in Data("[]".utf8) }).done == 1)
      let after = try await service.dead().groups(of: .type(type))
      #expect(after.map(\.cause) == ["broker.expired"])
      #expect(after.map(\.last) == before.map(\.last))
      let letter = try await service.rabbit.look(at: service.deadLetters(type))[0]
      #expect(letter.headers["x-death"] == nil)
      #expect(letter.header("warren-origin-queue") == source)
    }
  }

  @Test func whatCannotBeEditedOrRecordedStays() async throws {
    try await withLetters(4) { service, type in
      let report = try await service.dead().edit(.type(type), .all, record: { _ in }) { letter in
        if letter.id == "2" { throw Refusal("not this one") }
        return letter.body
      }
      #expect(report.done == 3 && report.failed == 1)
      #expect(report.problem == "2: not this one")
      #expect(try await service.ids(in: service.deadLetters(type), count: 4) == ["2", "0", "1", "3"])
      await #expect(throws: Refusal.self) {
        try await service.dead().edit(
          .type(type), .all, record: { _ in throw Refusal("disk full") }, change: { $0.body })
      }
      await #expect(throws: Refusal.self) {
        try await service.dead().discard(.type(type), .all) { _ in throw Refusal("disk full") }
      }
      #expect(try await service.ids(in: service.deadLetters(type), count: 4) == ["2", "0", "1", "3"])
    }
  }

  // MARK: Discard

  @Test func whatIsDiscardedIsRecordedFirst() async throws {
    try await withLetters(250) { service, type in
      var recorded: [String] = []
      let report = try await service.dead().discard(.type(type), .all) { letters in
        recorded += letters.map(\.id)
        #expect(letters.count <= 100)
      }
      #expect(report.done == 250)
      #expect(recorded == (0..<250).map { "\($0)" })
      #expect(try await service.rabbit.waitForDepth(service.deadLetters(type), 0))
      #expect(try await service.rabbit.depth(service.workQueue(type)) == 0)
    }
  }
}
