import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

@Suite struct DeadLetterCopyTests {
  private let now = Date(rfc3339: "2025-01-01T00:00:00.000Z") ?? Date()
  private let later = Date(rfc3339: "2025-01-02T00:00:00.000Z") ?? Date()

  private func message(
    _ properties: MessageProperties, exchange: String = "events.user.created", routingKey: String = "user.created.eu",
    body: String = #"{"id":1}"#
  ) -> IncomingMessage {
    message(with: properties.encoded.bytes, exchange: exchange, routingKey: routingKey, body: body)
  }

  private func message(
    with properties: [UInt8], exchange: String = "events.user.created", routingKey: String = "user.created.eu",
    body: String = #"{"id":1}"#, isOversized: Bool = false
  ) -> IncomingMessage {
    IncomingMessage(
      deliveryTag: 1, isRedelivered: false, exchange: exchange, routingKey: routingKey, properties: properties,
      body: Data(body.utf8), isOversized: isOversized)
  }

  private func copy(
    _ message: IncomingMessage, _ reason: DeadLetterReason = .handlerFailed("it broke"), at date: Date? = nil
  ) -> PublishRequest? {
    DeadLetterCopy.request(
      of: message, from: "mailer.user.created", to: "mailer.dead.user.created", reason: reason, now: date ?? now)
  }

  /// The properties that the copy has on the wire, without the publish's own number.
  private func properties(of request: PublishRequest?) throws -> MessageProperties {
    let head = try #require(request?.head)
    var properties = try MessageProperties(reading: Array(head.bytes[(head.headerFrameOffset + 19)...].dropLast()))
    #expect(properties.headers.removeValue(forKey: "warren-seq") == 0)
    return properties
  }

  @Test func bodyIDAndPropertiesStayAndTheReasonIsAdded() throws {
    let original = MessageProperties(
      contentType: "application/json", contentEncoding: "identity",
      headers: ["tenant": "acme", "cloudEvents:id": "42", "deep": .table(["a": .array([1, .null])])], deliveryMode: 1,
      priority: 3, correlationID: "c", replyTo: "r", expiration: "1000", messageID: "42", timestamp: 7,
      type: "user.created", userID: "guest", appID: "accounts", clusterID: "k")
    let request = try #require(copy(message(original)))
    #expect(request.exchange == "")
    #expect(request.body == Data(#"{"id":1}"#.utf8))
    let text = String(decoding: request.head.bytes.prefix(request.head.headerFrameOffset), as: UTF8.self)
    #expect(text.contains("mailer.dead.user.created"))

    var expected = original
    expected.deliveryMode = 2
    expected.expiration = nil
    expected.userID = nil
    expected.headers.merge([
      "warren-origin-exchange": "events.user.created", "warren-origin-routing-key": "user.created.eu",
      "warren-origin-queue": "mailer.user.created", "warren-origin-user-id": "guest",
      "warren-dead-reason": "handlerFailed", "warren-last-error": "it broke", "warren-attempt": 1,
      "warren-first-failed-at": "2025-01-01T00:00:00.000Z", "warren-failed-at": "2025-01-01T00:00:00.000Z",
    ]) { $1 }
    #expect(try properties(of: request) == expected)
  }

  @Test func whatTheBrokerAddedIsTakenOff() throws {
    let brokers = [
      "x-death", "x-delivery-count", "x-acquired-count", "CC", "BCC", "x-first-death-queue", "x-first-death-reason",
      "x-first-death-exchange", "x-last-death-queue", "x-last-death-reason", "x-last-death-exchange",
    ]
    let own: [String: HeaderValue] = ["x-tenant": 1, "x-deathly": 2, "cc": 3, "Bcc": 4]
    var headers = own
    for name in brokers { headers[name] = .array([.table(["count": 1])]) }
    let names = Set(try properties(of: copy(message(.init(headers: headers)))).headers.keys)
    #expect(names.isDisjoint(with: brokers))
    #expect(names.isSuperset(of: own.keys))
  }

  @Test func aMessageWithNothingGetsItsTypeFromTheExchange() throws {
    let bare = IncomingMessage(
      deliveryTag: 1, isRedelivered: false, exchange: "events.user.created", routingKey: "", properties: [0, 0],
      body: Data(), isOversized: false)
    let copied = try properties(of: copy(bare, .undecodable("no JSON")))
    #expect(copied.type == "user.created")
    #expect(copied.messageID == nil)
    #expect(copied.headers["warren-origin-routing-key"] == "")
    #expect(try properties(of: copy(message(.init(), exchange: "logs"))).type == nil)
    #expect(try properties(of: copy(message(.init(type: "Other")))).type == "Other")
  }

  @Test func theSecondTimeTheFirstOriginStaysAndTheLastFailureIsNew() throws {
    let first = try properties(of: copy(message(.init(userID: "guest"))))
    let again = IncomingMessage(
      deliveryTag: 2, isRedelivered: true, exchange: "", routingKey: "mailer.user.created",
      properties: first.encoded.bytes, body: Data(), isOversized: false)
    let second = try properties(of: copy(again, .rejected("not wanted"), at: later))
    var expected = first
    expected.headers["warren-dead-reason"] = "rejected"
    expected.headers["warren-last-error"] = "not wanted"
    expected.headers["warren-failed-at"] = "2025-01-02T00:00:00.000Z"
    #expect(second == expected)
    #expect(second.headers["warren-origin-exchange"] == "events.user.created")
    #expect(second.type == "user.created")
  }

  @Test func theNumberOfTheOldPublishIsNotCarriedOn() throws {
    var (bytes, at) = MessageProperties(messageID: "m").encoded
    bytes[at + 7] = 77
    let head = try #require(copy(message(with: bytes))).head
    let written = Array(head.bytes[(head.headerFrameOffset + 19)...].dropLast())
    let tags = try AMQPOracle.decode(written).headers?.filter { $0.key == "warren-seq" }
    #expect(tags == [.init(key: "warren-seq", value: .i64(0))])
  }

  @Test func anErrorIsCutTo512BytesBetweenCharacters() throws {
    func stored(_ text: String) throws -> String {
      try #require(
        try properties(of: copy(message(.init()), .handlerFailed(text))).headers["warren-last-error"]?.string)
    }
    let fits = String(repeating: "é", count: 256)
    #expect(try stored(fits) == fits)
    #expect(try stored(fits + "!") == String(repeating: "é", count: 254) + "…")
    var random = ReplayableRandom()
    for _ in 0..<200 {
      let text = (0..<random.int(0...200)).map { _ in random.pick(["a", "é", "🐇", "e\u{301}", "👩‍👩‍👧‍👦", "日"]) }.joined()
      let cut = text.cut(toBytes: 100)
      #expect(cut.utf8.count <= 100, random.replay)
      #expect(cut == text || (cut.hasSuffix("…") && text.hasPrefix(cut.dropLast())), random.replay)
      #expect((cut == text) == (text.utf8.count <= 100), random.replay)
      // Not shorter than it must be: the longest character here has 25 bytes.
      #expect(cut == text || cut.utf8.count > 100 - 3 - 25, random.replay)
    }
    // One character of a thousand bytes cannot be cut.
    #expect(("e" + String(repeating: "\u{301}", count: 500)).cut(toBytes: 100) == "…")
  }

  // MARK: When the broker must move it itself

  @Test func aBodyThatWasNotKeptCannotBeCopied() {
    #expect(copy(message(with: MessageProperties().encoded.bytes, isOversized: true)) == nil)
  }

  @Test func propertiesThatCannotBeReadCannotBeCopied() {
    let whole = message(.init(messageID: "m")).properties
    for count in 0..<whole.count { #expect(copy(message(with: Array(whole.prefix(count)))) == nil) }
  }

  @Test func headersThatLeaveNoRoomForTheReasonCannotBeCopied() {
    func fits(_ size: Int) -> Bool {
      copy(message(.init(headers: ["h": .string(String(repeating: "a", count: size))]))) != nil
    }
    #expect(fits(60_000))
    #expect(!fits(65_400))
    #expect(!fits(100_000))
  }

  @Test func aKeyThatWarrenCannotWriteCannotBeCopied() throws {
    let properties = try AMQPOracle.encode(.init(headers: [.init(key: "", value: .bool(true))]))
    #expect(copy(message(with: properties)) == nil)
  }
}
