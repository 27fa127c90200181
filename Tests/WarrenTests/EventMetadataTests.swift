import Foundation
import Testing
import Warren

@Suite struct EventMetadataTests {
  @Test func aNewEventHasANewIDAndTheCurrentTimeToTheMillisecond() throws {
    let before = Int64(wallClockMilliseconds())
    let metadata = EventMetadata(type: "user.created", source: "accounts")
    let time = try #require(metadata.time)
    #expect(before <= time.milliseconds && time.milliseconds <= Int64(wallClockMilliseconds()))
    #expect(Date(milliseconds: time.milliseconds) == time)
    #expect(metadata.id != nil && metadata.id != EventMetadata(type: "user.created").id)
    #expect(metadata.source == "accounts")
    #expect(metadata.contentType == "application/json")
    #expect(metadata.headers.isEmpty)
    #expect(
      metadata.key == nil && metadata.correlationID == nil && metadata.causationID == nil && metadata.trace == nil)
  }

  @Test func partsAreKept() throws {
    let trace = TraceContext(traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=b")
    let metadata = EventMetadata(
      id: try id("1"), type: "a", source: "s", time: Date(milliseconds: 5), key: "k", subject: "u", correlationID: "c",
      causationID: "p", trace: trace, contentType: nil, headers: ["tenant": "x"])
    #expect(
      metadata.id?.text == "1" && metadata.type == "a" && metadata.source == "s" && metadata.time?.milliseconds == 5)
    #expect(
      metadata.key == "k" && metadata.subject == "u" && metadata.correlationID == "c" && metadata.causationID == "p")
    #expect(metadata.trace == trace && metadata.contentType == nil && metadata.headers == ["tenant": .string("x")])
    #expect(metadata.declaredType == nil)
  }

  @Test func anEmptyTraceContextHasNothing() {
    #expect(TraceContext().isEmpty)
    #expect(!TraceContext(traceparent: "x").isEmpty)
    #expect(!TraceContext(tracestate: "x").isEmpty)
    #expect(!TraceContext(baggage: "x").isEmpty)
  }

  @Test func anEncodedEventIsItsPartsAndComparesByThem() {
    let metadata = EventMetadata(type: "a")
    let event = EncodedEvent(metadata: metadata, body: Data("{}".utf8))
    #expect(event.routingKey == nil && event.expiry == nil && event.hasOwnID)
    #expect(event == EncodedEvent(metadata: metadata, body: Data("{}".utf8)))
    #expect(event != EncodedEvent(metadata: metadata, body: Data("{}".utf8), hasOwnID: false))
    #expect(event != EncodedEvent(metadata: metadata, body: Data("{ }".utf8)))
    #expect(event != EncodedEvent(metadata: metadata, body: Data("{}".utf8), expiry: .seconds(1)))
  }

  @Test func headerValuesAreWrittenAsLiteralsAndReadByKind() {
    let headers: [String: HeaderValue] = ["text": "x", "number": -3, "flag": true]
    #expect(headers["text"]?.string == "x" && headers["text"]?.int == nil)
    #expect(headers["number"]?.int == -3 && headers["number"]?.string == nil)
    #expect(headers["flag"] == .bool(true) && headers["flag"]?.int == nil && headers["flag"]?.string == nil)
    #expect(HeaderValue.table(["a": [1, 2].reduce(into: .null) { _, n in }]) == .table(["a": .null]))
    #expect(HeaderValue.array(["a", 1]) != .array([1, "a"]))
  }
}
