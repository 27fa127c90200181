import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What a listing counts, and what it makes of headers that anybody can write.
struct DeadLetterSummaryTests {
  private func letter(
    _ headers: [String: HeaderValue], id: String? = nil, type: String? = nil, body: String = "{}"
  ) throws -> DeadLetter {
    var properties = MessageProperties()
    properties.headers = headers
    properties.messageID = id
    properties.type = type
    var writer = FieldWriter(capacity: 256)
    _ = properties.write(to: &writer)
    return DeadLetter(
      IncomingMessage(
        deliveryTag: 1, isRedelivered: false, exchange: "", routingKey: "svc.dead.a.b", properties: writer.bytes,
        body: Data(body.utf8), isOversized: false),
      of: "a.b")
  }

  @Test func repeatsFoldAndTheLastFailureSpeaks() throws {
    var summary = DeadLetterSummary(of: "a.b")
    for (id, minute, text) in [("1", 10, "first"), ("2", 30, "latest"), ("1", 20, "again")] {
      summary.add(
        try letter(
          [
            "warren-dead-reason": "handlerFailed", "warren-last-error": .string(text),
            "warren-first-failed-at": .string("2026-01-01T00:0\(minute / 10):00.000Z"),
            "warren-failed-at": .string("2026-01-01T00:\(minute):00.000Z"),
          ], id: id))
    }
    summary.add(try letter(["warren-dead-reason": "handlerFailed"]))
    summary.add(try letter(["warren-dead-reason": "undecodable"], id: "1"))
    let groups = summary.groups
    #expect(groups.map(\.cause) == ["handlerFailed", "undecodable"])
    #expect(groups[0].letters == 4)
    #expect(groups[0].events == 3)
    #expect(groups[0].first == Date(rfc3339: "2026-01-01T00:01:00.000Z"))
    #expect(groups[0].last == Date(rfc3339: "2026-01-01T00:30:00.000Z"))
    #expect(groups[0].reason == "latest")
    #expect(groups[0].example == "2")
    #expect(groups[1].events == 1)
  }

  /// Anybody may write any cause and any type.
  @Test func inventedCausesDoNotFillTheMemory() throws {
    var summary = DeadLetterSummary(of: "a.b")
    for i in 0..<5000 {
      summary.add(try letter(["warren-dead-reason": .string("c\(i)")], id: "\(i)", type: "t\(i % 7)"))
    }
    #expect(summary.groups.count == DeadLetterSummary.mostGroups + 1)
    #expect(summary.groups.map(\.letters).reduce(0, +) == 5000)
    #expect(summary.groups.first?.cause == "(others)")
    #expect(summary.groups.first?.events == 4000)
  }

  private static func death(_ fields: [String: HeaderValue]) -> HeaderValue { .array([.table(fields)]) }

  @Test func theBrokersWordsAreItsOwnCauses() throws {
    let time = Date(timeIntervalSince1970: 1_700_000_000)
    for word in ["rejected", "expired", "maxlen", "delivery_limit"] {
      let letter = try letter([
        "x-death": Self.death([
          "reason": .string(word), "time": .timestamp(time), "queue": "svc.a.b", "exchange": "events.c.d",
          "routing-keys": .array(["some.key"]),
        ]),
        // Of a failure before.
        "warren-dead-reason": "handlerFailed", "warren-first-failed-at": "2023-01-01T00:00:00.000Z",
      ])
      #expect(letter.cause == "broker.\(word)")
      #expect(letter.type == "c.d")
      #expect(letter.exchange == "events.c.d" && letter.routingKey == "some.key")
      #expect(letter.lastFailure == time)
      #expect(letter.firstFailure == Date(rfc3339: "2023-01-01T00:00:00.000Z"))
    }
  }

  @Test(
    arguments: [
      "a text", 7, .null, .array([]), .array(["a text"]), .table(["reason": "rejected"]), .array([.table([:])]),
      .array([.table(["reason": "\u{1b}[2J", "queue": 5, "exchange": .null, "routing-keys": "k", "time": "now"])]),
      .array([.table(["reason": .string(String(repeating: "x", count: 100_000))])]),
    ] as [HeaderValue])
  func aForgedDeathIsUnknown(death: HeaderValue) throws {
    let letter = try letter(["x-death": death], id: "1")
    #expect(letter.cause == "broker.unknown")
    #expect(letter.type == "a.b")
    #expect(letter.lastFailure == nil)
  }

  @Test func whatSaysNothingIsUnknownAndHasAFingerprint() throws {
    let one = try letter([:])
    let other = try letter([:], body: "[]")
    let looked = try letter(["x-delivery-count": 5])
    #expect(one.cause == "unknown" && !one.hasOwnID && one.id.hasPrefix("~"))
    #expect(one.id != other.id)
    #expect(one.id == looked.id)
    let long = try letter(["warren-dead-reason": .string(String(repeating: "c", count: 300))], id: "")
    #expect(long.cause.utf8.count == 64)
    #expect(!long.hasOwnID)
  }
}
