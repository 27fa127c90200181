import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Listing and showing dead letters takes nothing out and changes nothing.
struct DeadLetterLookingTests {
  @Test func groupsAreCountedAndNothingMoves() async throws {
    let type = freshType("dead")
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      for i in 0..<30 {
        try await service.putLetter(
          "\(i % 20)", type, cause: i % 3 == 0 ? "undecodable" : "handlerFailed", error: "error \(i)", minute: i)
      }
      let queue = try service.deadLetters(type)
      let before = try await service.ids(in: queue, count: 30)
      for _ in 0..<5 {
        let groups = try await service.dead().groups(of: .type(type))
        #expect(groups.map(\.cause) == ["handlerFailed", "undecodable"])
        #expect(groups.map(\.letters) == [20, 10])
        // 1 and 21 mod 20 are the same event.
        #expect(groups.map(\.events) == [Set((0..<30).filter { $0 % 3 != 0 }.map { $0 % 20 }).count, 10])
        #expect(groups[0].reason == "error 29" && groups[0].example == "9")
        #expect(groups[0].last == Date(rfc3339: "2026-01-01T00:29:00.000Z"))
        #expect(groups[0].first == Date(rfc3339: "2026-01-01T00:00:00.000Z"))
      }
      #expect(try await service.ids(in: queue, count: 30) == before)
    }
  }

  @Test func anEmptyQueueHasNoGroupsAndAMissingOneSaysSo() async throws {
    let type = freshType("dead")
    try await withTestService(type) { service in
      let queue = try service.deadLetters(type)
      let missing = await #expect(throws: RabbitMQError.self) { try await service.dead().groups(of: .type(type)) }
      #expect(missing?.code == .notFound)
      #expect(missing?.message.contains("\"\(queue)\"") == true)
      try await service.declareQueues(type)
      #expect(try await service.dead().groups(of: .type(type)).isEmpty)
      #expect(try await service.dead().replay(.type(type), .all) == DeadLetters.Report())
    }
  }

  /// More letters than the pages of a look are long: every page that is turned is a channel of its own.
  @Test func whatStandsBehindManyOthersIsFoundAndTheOrderStays() async throws {
    let type = freshType("dead")
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      for i in 0..<300 { try await service.putLetter("\(i)", type, cause: i % 2 == 0 ? "even" : "odd") }
      let queue = try service.deadLetters(type)
      var found: [DeadLetter] = []
      try await service.dead().forEach(of: .type(type), .ids(["297", "1"])) {
        found.append($0)
        return true
      }
      #expect(found.map(\.id) == ["1", "297"])
      #expect(found.map(\.cause) == ["odd", "odd"])
      #expect(found.last.map { String(decoding: $0.body, as: UTF8.self) } == #"{"id":"297"}"#)
      #expect(try await service.ids(in: queue, count: 300) == (0..<300).map { "\($0)" })

      // Ends early when it is told to.
      var count = 0
      try await service.dead().forEach(of: .type(type)) { _ in
        count += 1
        return count < 7
      }
      #expect(count == 7)

      let report = try await service.dead().replay(.type(type), .cause("odd"))
      #expect(report.done == 150 && report.chosen == 150 && report.failed == 0 && report.stopped == nil)
      #expect(try await service.ids(in: queue, count: 150) == (0..<150).map { "\($0 * 2)" })
      #expect(
        try await service.ids(in: service.workQueue(type), count: 150) == (0..<150).map { "\($0 * 2 + 1)" })
    }
  }

  /// Letters that the broker itself has moved: why is only in its own header.
  @Test func whatTheBrokerMovedHasItsOwnCauses() async throws {
    let type = freshType("dead")
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      let dead = try service.deadLetters(type)
      func source(_ arguments: [String: HeaderValue]) async throws -> String {
        let name = unique("source")
        var all = arguments
        all["x-queue-type"] = all["x-queue-type"] ?? "quorum"
        all["x-dead-letter-exchange"] = ""
        all["x-dead-letter-routing-key"] = .string(dead)
        try await service.rabbit.testQueue(name, arguments: all, litter: service.litter)
        return name
      }
      let expiring = try await source(["x-message-ttl": 1])
      try await service.put("1", into: expiring) { $0.messageID = "expired" }
      #expect(try await service.rabbit.waitForDepth(dead, 1))
      let short = try await source(["x-queue-type": "classic", "x-max-length": 1])
      for _ in 0..<2 { try await service.put("2", into: short) { $0.messageID = "maxlen" } }
      #expect(try await service.rabbit.waitForDepth(dead, 2))
      let impatient = try await source(["x-delivery-limit": 1])
      try await service.put("3", into: impatient) { $0.messageID = "delivery_limit" }
      for _ in 0..<2 { _ = try? await service.rabbit.look(at: impatient) }
      #expect(try await service.rabbit.waitForDepth(dead, 3))
      let refusing = try await source([:])
      try await service.put("4", into: refusing) { $0.messageID = "rejected" }
      _ = try await QueueLook.at(refusing, of: service.rabbit, count: 1) { messages, channel in
        service.rabbit.consuming.submit(
          .acknowledge(channel, messages.map { .reject($0.deliveryTag, requeue: false) }))
      }
      #expect(try await service.rabbit.waitForDepth(dead, 4))

      var letters: [DeadLetter] = []
      try await service.dead().forEach(of: .type(type)) {
        letters.append($0)
        return true
      }
      let words = ["expired", "maxlen", "delivery_limit", "rejected"]
      #expect(letters.map(\.id) == words)
      #expect(letters.map(\.cause) == words.map { "broker.\($0)" })
      #expect(letters.map(\.routingKey) == [expiring, short, impatient, refusing])
      #expect(letters.allSatisfy { abs($0.lastFailure?.timeIntervalSinceNow ?? -1000) < 60 })
      #expect(Set(try await service.dead().groups(of: .type(type)).map(\.cause)) == Set(words.map { "broker.\($0)" }))
    }
  }

  @Test func whoReadsTooIsCounted() async throws {
    let type = freshType("dead")
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      try await service.putLetter("1", type)
      #expect(try await service.dead().readers(of: .type(type)) == 0)
      let readers = try await QueueLook.at(service.deadLetters(type), of: service.rabbit, count: 1) { _, _ in
        try await service.dead().readers(of: .type(type))
      }
      #expect(readers == 1)
    }
  }
}
