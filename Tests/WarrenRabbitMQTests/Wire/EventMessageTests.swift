import CRabbitMQ
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Events as messages, and the messages of anybody as events.
@Suite struct EventMessageTests {
  private static let type: EventType = "user.created"

  private func event() throws -> EncodedEvent {
    var metadata = EventMetadata(
      id: try EventID("01941f29-7c00-7000-8000-0000000000ab"), type: Self.type, source: "accounts",
      time: Date(rfc3339: "2025-01-01T00:00:01.250Z"), key: "user-1", subject: "users/1", correlationID: "order-7",
      causationID: "01941f29-7c00-7000-8000-0000000000aa")
    metadata.trace = TraceContext(
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=b", baggage: "user=1")
    metadata.headers = ["zone": "eu", "tenant": "acme"]
    return EncodedEvent(metadata: metadata, body: Data(#"{"id":1}"#.utf8), expiry: .seconds(90))
  }

  @Test func oneEventByteForByte() throws {
    func text(_ key: String, _ value: String) -> [UInt8] {
      [UInt8(key.utf8.count)] + key.utf8 + [UInt8(ascii: "S"), 0, 0, 0, UInt8(value.utf8.count)] + value.utf8
    }
    func long(_ key: String, _ last: UInt8) -> [UInt8] {
      [UInt8(key.utf8.count)] + key.utf8 + [UInt8(ascii: "l"), 0, 0, 0, 0, 0, 0, 0, last]
    }
    func short(_ value: String) -> [UInt8] { [UInt8(value.utf8.count)] + value.utf8 }
    let id = "01941f29-7c00-7000-8000-0000000000ab"
    let headers =
      long("warren-seq", 0) + text("cloudEvents:specversion", "1.0") + text("cloudEvents:type", "user.created")
      + text("cloudEvents:id", id) + long("warren-id", 1) + text("cloudEvents:source", "accounts")
      + text("cloudEvents:time", "2025-01-01T00:00:01.250Z") + text("cloudEvents:subject", "users/1")
      + text("warren-key", "user-1") + text("warren-causation-id", "01941f29-7c00-7000-8000-0000000000aa")
      + text("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") + text("tracestate", "a=b")
      + text("baggage", "user=1") + text("tenant", "acme") + text("zone", "eu")
    // content-type, headers, delivery-mode, correlation-id, expiration, message-id, timestamp, type, app-id.
    var expected: [UInt8] = [0b1011_0101, 0b1110_1000]
    expected += short("application/json")
    expected += [0, 0, UInt8(headers.count >> 8), UInt8(headers.count & 0xff)] + headers
    expected += [2]
    expected += short("order-7")
    expected += short("90000")
    expected += short(id)
    // 2025-01-01T00:00:01Z is 1735689601.
    expected += [0, 0, 0, 0, 0x67, 0x74, 0x85, 0x81]
    expected += short("user.created")
    expected += short("accounts")
    #expect(try written(event()) == expected)
  }

  /// There are two ways to the bytes, and nobody may see which was taken.
  @Test func aPlainEventIsWrittenLikeOneWithHeaders() throws {
    var random = ReplayableRandom()
    func maybe(_ text: @autoclosure () -> String) -> String? { random.oneIn(2) ? text() : nil }
    for _ in 0..<500 {
      let date = Date(milliseconds: Int64(random.int(-1_000_000_000...1_000_000_000)) * 100)
      var metadata = EventMetadata(
        id: random.oneIn(2) ? EventID() : nil, type: Self.type, source: maybe("accounts"),
        time: random.oneIn(2) ? date : nil, key: maybe("user-\(random.int(0...9))"), subject: maybe("users/é"),
        correlationID: maybe(String(repeating: "c", count: random.int(0...255))), causationID: maybe("x"),
        trace: random.oneIn(2) ? TraceContext(traceparent: "00-1-2-01") : nil, contentType: maybe("application/json"))
      if random.oneIn(2) { metadata.recordedAt = date + 5 }
      let event = EncodedEvent(metadata: metadata, body: Data("{}".utf8), hasOwnID: random.oneIn(2))
      #expect(event.isPlain)
      var writer = FieldWriter(capacity: 16)
      _ = MessageProperties(event).write(to: &writer) { metadata.writeHeaders(to: &$0, hasOwnID: event.hasOwnID) }
      let expected = writer.bytes
      #expect(try written(event) == expected, random.replay)
    }
  }

  @Test func aPlainEventIsCheckedLikeOneWithHeaders() throws {
    for name in ["correlation-id", "app-id", "content-type"] {
      var event = try event()
      event.expiry = nil
      let long = String(repeating: "x", count: 256)
      switch name {
      case "correlation-id": event.metadata.correlationID = long
      case "app-id": event.metadata.source = long
      default: event.metadata.contentType = long
      }
      var plain = event
      plain.metadata.headers = [:]
      #expect(plain.isPlain && !event.isPlain)
      for event in [plain, event] {
        let error = #expect(throws: WarrenError.self) { try written(event) }
        #expect(error?.message == "the \(name) has 256 bytes; AMQP allows 255")
      }
    }
  }

  /// The properties of an event as they leave.
  private func written(_ event: EncodedEvent) throws -> [UInt8] {
    let head = try PublishHead(event, exchange: "events.user.created")
    return Array(head.bytes[(head.headerFrameOffset + 19)...].dropLast())
  }

  private func properties(_ event: EncodedEvent) throws -> MessageProperties {
    var properties = try MessageProperties(reading: written(event))
    #expect(properties.headers.removeValue(forKey: "warren-seq") == 0)
    return properties
  }

  @Test func whatWasWrittenIsReadAgain() throws {
    let event = try event()
    #expect(EventMetadata(try MessageProperties(reading: written(event)), type: Self.type) == event.metadata)
  }

  @Test func randomEventsAreReadAgainAndNoHeaderIsThereTwice() async throws {
    var random = ReplayableRandom()
    for _ in 0..<300 {
      await Task.yield()
      func text() -> String? { random.oneIn(2) ? random.text(upTo: 255) : nil }
      var metadata = EventMetadata(id: random.oneIn(4) ? nil : EventID(), type: Self.type)
      (metadata.source, metadata.key, metadata.subject) = (text(), text(), text())
      (metadata.correlationID, metadata.causationID, metadata.contentType) = (text(), text(), text())
      if random.oneIn(2) {
        metadata.time = Date(milliseconds: Int64(random.int(-62_167_219_200_000...253_402_300_799_999)))
      }
      let trace = TraceContext(traceparent: text(), tracestate: text(), baggage: text())
      if !trace.isEmpty { metadata.trace = trace }
      metadata.headers = random.headers(upTo: 4, depth: 2)
      let event = EncodedEvent(metadata: metadata, body: Data(), hasOwnID: random.oneIn(2))
      var disturbed = event
      // What the metadata says of itself stands above a header that only has its name.
      for name in ["warren-seq", "warren-id", "warren-key", "cloudEvents:id", "cloudEvents:time"] where random.oneIn(3)
      {
        disturbed.metadata.headers[name] = 99
      }
      let bytes = try written(disturbed)
      #expect(EventMetadata(try MessageProperties(reading: bytes), type: Self.type) == metadata, random.replay)
      let keys = try #require(try AMQPOracle.decode(bytes).headers).map(\.key)
      #expect(Set(keys).count == keys.count && keys.first == "warren-seq", random.replay)
      #expect(PublishHead.sequence(in: bytes) == 0, random.replay)
      #expect(keys.contains("warren-id") == (event.hasOwnID && metadata.id != nil), random.replay)
    }
  }

  @Test func traceHeadersOfTheCallerStandWhereThereIsNoTrace() throws {
    var event = try event()
    event.metadata.headers["traceparent"] = "mine"
    #expect(try properties(event).headers["traceparent"] != "mine")
    event.metadata.trace = nil
    #expect(try properties(event).headers["traceparent"] == "mine")
  }

  @Test func onlyAnIDThatWarrenMadeStandsForItself() throws {
    var event = try event()
    #expect(try properties(event).headers["warren-id"] == 1)
    event.hasOwnID = false
    #expect(try properties(event).headers["warren-id"] == nil)
    event.metadata.id = nil
    event.hasOwnID = true
    let without = try properties(event)
    #expect(without.messageID == nil)
    #expect(without.headers["warren-id"] == nil && without.headers["cloudEvents:id"] == nil)
  }

  @Test func theTypeIsTheRoutingKeyUnlessAnotherIsGiven() throws {
    func routingKey(_ event: EncodedEvent) throws -> String {
      let head = try PublishHead(event, exchange: "events.user.created")
      let arguments = Array(head.bytes[11..<(head.headerFrameOffset - 1)])
      return try AMQPOracle.decodeMethod(60 << 16 | 40, arguments, as: amqp_basic_publish_t.self) {
        String($0.routing_key)
      }
    }
    var event = try event()
    #expect(try routingKey(event) == "user.created")
    event.routingKey = "user.created.eu"
    #expect(try routingKey(event) == "user.created.eu")
  }

  @Test func aSparseEventIsAMessageAndPersistent() throws {
    var metadata = EventMetadata(id: nil, type: Self.type)
    metadata.contentType = nil
    #expect(
      try properties(EncodedEvent(metadata: metadata, body: Data()))
        == MessageProperties(
          headers: ["cloudEvents:specversion": "1.0", "cloudEvents:type": "user.created"], deliveryMode: 2,
          type: "user.created"))
  }

  private static let dates: [(seconds: Double, timestamp: Int64)] = [
    (.infinity, 8_000_000_000_000), (-.infinity, -8_000_000_000_000), (1e300, 8_000_000_000_000), (-0.001, -1),
    (-1, -1),
    (0, 0), (1.999, 1), (253_402_300_799.999, 253_402_300_799),
  ]

  @Test(arguments: dates)
  func anyDateHasATimestamp(seconds: Double, expected: Int64) throws {
    let metadata = EventMetadata(id: nil, type: Self.type, time: Date(timeIntervalSince1970: seconds))
    let timestamp = try properties(EncodedEvent(metadata: metadata, body: Data())).timestamp
    #expect(timestamp.map { Int64(bitPattern: $0) } == expected)
  }

  @Test func anExpiryCountsMilliseconds() throws {
    var event = try event()
    for (expiry, text) in [
      (Duration.zero, "0"), (.microseconds(999), "0"), (.milliseconds(1), "1"), (.seconds(86_400 * 365), "31536000000"),
    ] {
      event.expiry = expiry
      #expect(try properties(event).expiration == text)
    }
    event.expiry = nil
    #expect(try properties(event).expiration == nil)
  }

  // MARK: Messages of others

  @Test func aBareMessageIsAnEventWithoutAnything() {
    let metadata = EventMetadata(MessageProperties(), type: Self.type)
    #expect(metadata == EventMetadata(id: nil, type: Self.type, contentType: nil))
    #expect(metadata.declaredType == nil)
    #expect(metadata.trace == nil)
  }

  @Test func plainPropertiesAreUnderstood() throws {
    let properties = MessageProperties(
      contentType: "application/json; charset=utf-8", headers: ["retries": 3], correlationID: "c", messageID: "42",
      timestamp: 1_735_689_601, appID: "billing")
    let metadata = EventMetadata(properties, type: Self.type)
    #expect(metadata.id == (try EventID("42")))
    #expect(metadata.source == "billing")
    #expect(metadata.time == Date(timeIntervalSince1970: 1_735_689_601))
    #expect(metadata.correlationID == "c")
    #expect(metadata.contentType == "application/json; charset=utf-8")
    #expect(metadata.headers == ["retries": 3])
  }

  @Test func cloudEventsHeadersAreUnderstoodWithoutAnyProperty() throws {
    let properties = MessageProperties(headers: [
      "cloudEvents:specversion": "1.0", "cloudEvents:id": "ce-1", "cloudEvents:source": "/shop",
      "cloudEvents:type": "user.created", "cloudEvents:time": "2025-01-01T02:00:00+02:00",
      "cloudEvents:subject": "users/1",
    ])
    let metadata = EventMetadata(properties, type: Self.type)
    #expect(metadata.id == (try EventID("ce-1")))
    #expect(metadata.source == "/shop")
    #expect(metadata.subject == "users/1")
    #expect(metadata.time == Date(timeIntervalSince1970: 1_735_689_600))
    #expect(metadata.declaredType == nil)
    #expect(metadata.headers.isEmpty)
  }

  @Test func whereBothSpeakTheMoreExactOneCounts() throws {
    let properties = MessageProperties(
      headers: [
        "cloudEvents:id": "ce", "cloudEvents:source": "ce-source", "cloudEvents:time": "2025-01-01T00:00:01.250Z",
        "cloudEvents:type": "ce.type",
      ], messageID: "amqp", timestamp: 1, type: "amqp.type", appID: "amqp-source")
    let metadata = EventMetadata(properties, type: Self.type)
    #expect(metadata.id == (try EventID("amqp")))
    #expect(metadata.source == "ce-source")
    #expect(metadata.time == Date(timeIntervalSince1970: 1_735_689_601.25))
    #expect(metadata.declaredType == "amqp.type")
  }

  @Test func anotherTypeIsKeptAsWhatItSays() {
    #expect(
      EventMetadata(MessageProperties(type: "App\\Events\\UserCreated"), type: Self.type).declaredType
        == "App\\Events\\UserCreated")
    #expect(EventMetadata(MessageProperties(headers: ["cloudEvents:type": "x"]), type: Self.type).declaredType == "x")
    #expect(EventMetadata(MessageProperties(type: "user.created"), type: Self.type).declaredType == nil)
  }

  @Test(arguments: ["", "a\u{0}b", "line\nbreak", String(repeating: "a", count: 256)])
  func anIDThatIsNoneIsNoID(text: String) {
    #expect(EventMetadata(MessageProperties(messageID: text), type: Self.type).id == nil)
  }

  @Test func headersOfAnotherKindAreNoReasonToFail() {
    let properties = MessageProperties(
      headers: [
        "cloudEvents:id": 7, "cloudEvents:time": "yesterday", "cloudEvents:source": .null, "traceparent": .bytes([1]),
        "warren-key": .array([]), "own": .null,
      ], timestamp: 5)
    let metadata = EventMetadata(properties, type: Self.type)
    #expect(metadata.id == nil && metadata.source == nil && metadata.key == nil && metadata.trace == nil)
    #expect(metadata.time == Date(timeIntervalSince1970: 5))
    #expect(metadata.headers == ["own": .null])
  }
}
