import BrokerFixture
import CRabbitMQ
import Foundation
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// What stands in the dead letters, and that nothing of the message is lost on the way.
@Suite(.serialized) struct DeadLetterTests {
  private struct Invoice: Event {
    static let eventType = freshType("invoice")
    var number: Int
    var text: String
  }

  @Test func aThrowingHandlersEventGoesThereWithTheReason() async throws {
    try await withTestService(Invoice.eventType) { service in
      let before = Date().addingTimeInterval(-1)
      let subscriber = service.subscriber { On(Invoice.self) { _, _ in throw Refusal("no account 7") } }
      try await whileConsuming(subscriber) {
        let invoice = Invoice(number: 7, text: "größer")
        let options = PublishOptions(
          key: "k7", subject: "s7", routingKey: "some.key", expiry: .seconds(60), correlationID: "c7",
          headers: ["tenant": "blue", "weight": 12])
        let id = try await service.publisher.publish(invoice, options: options).id
        let dead = try await service.rabbit.look(at: service.deadLetters(Invoice.eventType))[0]
        #expect(dead.body == (try invoice.encoded().body))
        #expect(dead.exchange.isEmpty)
        #expect(dead.routingKey == (try service.deadLetters(Invoice.eventType)))
        #expect(dead.cause == "handlerFailed")
        #expect(dead.header("warren-last-error") == "no account 7")
        #expect(dead.header("warren-origin-exchange") == "events.\(Invoice.eventType)")
        #expect(dead.header("warren-origin-queue") == (try service.workQueue(Invoice.eventType)))
        #expect(dead.header("warren-origin-routing-key") == "some.key")
        let first = try #require(dead.header("warren-first-failed-at").flatMap { Date(rfc3339: $0) })
        #expect(first > before && first < Date().addingTimeInterval(1))
        #expect(dead.header("warren-failed-at") == dead.header("warren-first-failed-at"))
        #expect(dead.headers["x-death"] == nil)

        let properties = try #require(dead.properties)
        #expect(properties.messageID == id.text)
        #expect(properties.type == Invoice.eventType.name)
        #expect(properties.appID == "tests")
        #expect(properties.correlationID == "c7")
        #expect(properties.contentType == "application/json")
        #expect(properties.deliveryMode == 2)
        // An expired dead letter would be gone.
        #expect(properties.expiration == nil)
        #expect(dead.headers["tenant"] == "blue")
        #expect(dead.headers["weight"] == 12)
        #expect(dead.headers["warren-key"] == "k7")
        #expect(dead.headers["cloudEvents:subject"] == "s7")
        #expect(dead.headers["cloudEvents:id"] == .string(id.text))
        #expect(dead.headers["warren-id"] == 1)
      }
      #expect(try await service.rabbit.depth(service.workQueue(Invoice.eventType)) == 0)
    }
  }

  /// As an operator's replay does it: the dead letter goes to the work queue as it is, and fails again.
  @Test func aSecondFailureKeepsWhereTheEventCameFrom() async throws {
    try await withTestService(Invoice.eventType) { service in
      let failures = Collected<String>()
      let subscriber = service.subscriber {
        On(Invoice.self) { event, context in
          failures.add(context.metadata.id?.text ?? "")
          throw Refusal("failure \(failures.all.count)")
        }
      }
      let deadLetters = try service.deadLetters(Invoice.eventType)
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(Invoice(number: 1, text: ""))
        let first = try await service.rabbit.take(from: deadLetters)[0]
        let properties = try #require(first.properties)
        try await service.put(first.body, into: service.workQueue(Invoice.eventType)) { $0 = properties }
        let second = try await service.rabbit.look(at: deadLetters)[0]
        #expect(second.body == first.body)
        #expect(second.header("warren-last-error") == "failure 2")
        for name in ["exchange", "routing-key", "queue"] {
          #expect(second.header("warren-origin-\(name)") == first.header("warren-origin-\(name)"))
        }
        #expect(second.header("warren-first-failed-at") == first.header("warren-first-failed-at"))
        let times = [first, second].compactMap { $0.header("warren-failed-at").flatMap { Date(rfc3339: $0) } }
        #expect(times.count == 2 && times[0] <= times[1])
        #expect(Set(failures.all) == [properties.messageID ?? "-"])
      }
    }
  }

  private static let family = "👨‍👩‍👧‍👦"
  private static let longTexts = [
    String(repeating: "a", count: 512), String(repeating: "a", count: 513), String(repeating: "é", count: 300),
    String(repeating: family, count: 40), "b" + String(repeating: "€", count: 4000),
    "e" + String(repeating: "\u{301}", count: 2000), "line one\nline two\u{0}\u{7f}", "",
  ]

  @Test func theErrorsTextIsCutAtACharacter() async throws {
    let texts = Self.longTexts
    try await withTestService(Invoice.eventType) { service in
      let subscriber = service.subscriber {
        $0.concurrency = 1
      } handlers: {
        On(Invoice.self) { event, _ in throw Refusal(texts[event.number]) }
      }
      try await whileConsuming(subscriber) {
        try await service.publisher.publish(contentsOf: texts.indices.map { Invoice(number: $0, text: "") })
        let dead = try await service.rabbit.look(at: service.deadLetters(Invoice.eventType), count: texts.count)
        for (text, letter) in zip(texts, dead) {
          let found = try #require(letter.header("warren-last-error"))
          #expect(found.utf8.count <= 512)
          if text.utf8.count <= 512 {
            #expect(found == text)
          } else {
            #expect(found.last == "…")
            // Whole characters of the original, and as many as there is room for.
            let kept = Array(found.dropLast())
            #expect(Array(text.prefix(kept.count)) == kept)
            let next = text.dropFirst(kept.count).first.map { String($0).utf8.count } ?? 0
            #expect(found.utf8.count + next > 512)
          }
        }
      }
    }
  }

  private static let badBodies: [[UInt8]] = [
    Array(#"{"number":"#.utf8), Array(#"{"number":"seven","text":""}"#.utf8), Array(#"{"text":""}"#.utf8),
    [0xff, 0xfe, 0x00, 0x80], Array(#"{"number":1,"text":""#.utf8) + [0xff, 0xc0] + Array(#""}"#.utf8), [],
    Array("[1]".utf8), Array("7".utf8), Array(#""text""#.utf8), Array("null".utf8), Array("true".utf8),
    Array("{}".utf8),
    [0xef, 0xbb, 0xbf], Array(repeating: UInt8(ascii: "["), count: 5000),
    Array("{\"number\":1e400,\"text\":\"\"}".utf8),
  ]

  @Test func whatCannotBeDecodedGoesThereAndTheOthersGoOn() async throws {
    let bodies = Self.badBodies
    try await withTestService(Invoice.eventType) { service in
      let handled = Collected<Int>()
      let subscriber = service.subscriber {
        $0.concurrency = 1
      } handlers: {
        On(Invoice.self) { event, _ in handled.add(event.number) }
      }
      try await whileConsuming(subscriber) {
        let queue = try service.workQueue(Invoice.eventType)
        for (i, body) in bodies.enumerated() {
          try await service.put(Data(body), into: queue) { if i > 0 { $0.messageID = "bad-\(i)" } }
        }
        try await service.publisher.publish(Invoice(number: 99, text: "good"))
        #expect(await handled.wait(for: 1) == [99])
        let dead = try await service.rabbit.look(at: service.deadLetters(Invoice.eventType), count: bodies.count)
        for (i, letter) in dead.enumerated() {
          #expect(Array(letter.body) == bodies[i])
          #expect(letter.cause == "undecodable", "body \(i)")
          #expect(letter.properties?.messageID == (i > 0 ? "bad-\(i)" : nil))
          #expect(letter.properties?.contentType == nil)
          #expect(letter.headers["x-death"] == nil)
          // Bodies may hold what must not be seen in headers.
          #expect(letter.header("warren-last-error")?.contains("seven") == false)
        }
      }
      #expect(handled.all == [99])
      #expect(try await service.rabbit.depth(service.workQueue(Invoice.eventType)) == 0)
    }
  }

  @Test func aForeignMessageKeepsItsProperties() async throws {
    try await withTestService(Invoice.eventType) { service in
      let subscriber = service.subscriber { On(Invoice.self) { _, _ in throw Refusal("no") } }
      try await whileConsuming(subscriber) {
        let headers: [String: HeaderValue] = [
          "deep": .table(["list": .array([1, "two", .bool(true), .null, .double(2.5)])]), "bytes": .bytes([0, 255]),
          "when": .timestamp(Date(timeIntervalSince1970: 1_700_000_000)), "x-own": "kept", "x-death": "a lie",
          "x-first-death-queue": "a lie", "x-delivery-count": 77, "CC": .array([]),
        ]
        let texts = [
          "text/json", "identity", "corr", "reply", "60000", "id-1", "kind", "guest", "app", "cluster",
        ].map { Array($0.utf8) }
        let client = try PlainClient()
        let body = Array(#"{"number":1,"text":"\u00e9"}"#.utf8)
        try withBytes(of: texts) { texts in
          try client.publish(
            body, routingKey: "any", exchange: EntityNames.exchange(of: Invoice.eventType), headers: headers
          ) { properties in
            properties._flags = 0xfffc
            properties.content_type = texts[0]
            properties.content_encoding = texts[1]
            properties.delivery_mode = 1
            properties.priority = 3
            properties.correlation_id = texts[2]
            properties.reply_to = texts[3]
            properties.expiration = texts[4]
            properties.message_id = texts[5]
            properties.timestamp = 1_700_000_001
            properties.type = texts[6]
            properties.user_id = texts[7]
            properties.app_id = texts[8]
            properties.cluster_id = texts[9]
          }
        }
        let dead = try await service.rabbit.look(at: service.deadLetters(Invoice.eventType))[0]
        #expect(Array(dead.body) == body)
        var expected = MessageProperties()
        expected.contentType = "text/json"
        expected.contentEncoding = "identity"
        expected.deliveryMode = 2
        expected.priority = 3
        expected.correlationID = "corr"
        expected.replyTo = "reply"
        expected.messageID = "id-1"
        expected.timestamp = 1_700_000_001
        expected.type = "kind"
        expected.appID = "app"
        expected.clusterID = "cluster"
        var found = try #require(dead.properties)
        let foundHeaders = found.headers
        found.headers = [:]
        #expect(found == expected)
        for name in ["deep", "bytes", "when", "x-own"] { #expect(foundHeaders[name] == headers[name], "\(name)") }
        for name in ["x-death", "x-first-death-queue", "x-delivery-count", "CC"] { #expect(foundHeaders[name] == nil) }
        #expect(foundHeaders["warren-origin-user-id"] == "guest")
      }
    }
  }

  private func withBytes<R>(of texts: [[UInt8]], _ body: ([amqp_bytes_t]) throws -> R) rethrows -> R {
    let copies = texts.map { text in
      let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: text.count)
      _ = memory.initialize(from: text)
      return memory
    }
    defer { for memory in copies { memory.deallocate() } }
    return try body(copies.map { amqp_bytes_t(len: $0.count, bytes: $0.baseAddress) })
  }

  /// Dead letters are looked at again and again, each time by a consumer that takes them and gives them back. RabbitMQ 4
  /// drops a message after 20 returns unless its queue says otherwise.
  @Test func fiftyListingsLeaveThemAllInOrder() async throws {
    try await withTestService(Invoice.eventType) { service in
      try await service.declareQueues(Invoice.eventType)
      let queue = try service.deadLetters(Invoice.eventType)
      for i in 0..<20 { try await service.put("letter \(i)", into: queue) { $0.messageID = "\(i)" } }
      let expected = (0..<20).map { "letter \($0)" }
      for listing in 1...50 {
        let found = try await service.rabbit.look(at: queue, count: 20).map(\.text)
        #expect(found == expected, "listing \(listing)")
      }
      #expect(try await service.rabbit.waitForDepth(queue, 20))
      #expect(
        try await service.rabbit.take(from: queue, count: 20).map(\.properties?.messageID) == (0..<20).map { "\($0)" })
      #expect(try await service.rabbit.waitForDepth(queue, 0))
    }
  }
}
