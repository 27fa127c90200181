import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Warren's own reader and writer against librabbitmq's.
@Suite struct PropertiesOracleTests {
  /// Taken out, because only the writer puts it there.
  private func withoutSequence(_ properties: AMQPOracle.Properties) throws -> AMQPOracle.Properties {
    var properties = properties
    let first = try #require(properties.headers?.first)
    #expect(first == .init(key: "warren-seq", value: .i64(0)))
    properties.headers?.removeFirst()
    return properties
  }

  @Test func whatWarrenWritesTheLibraryReads() async throws {
    var random = ReplayableRandom()
    for _ in 0..<400 {
      await Task.yield()
      let properties = random.properties()
      let decoded = try withoutSequence(try AMQPOracle.decode(properties.encoded.bytes))
      #expect(MessageProperties(decoded) == properties, random.replay)
      // By key, so that equal headers are equal bytes.
      let keys = try #require(decoded.headers).map(\.key)
      #expect(keys == keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }, random.replay)
    }
  }

  @Test func whatTheLibraryWritesWarrenReads() async throws {
    var random = ReplayableRandom()
    for _ in 0..<400 {
      await Task.yield()
      let properties = random.foreignProperties()
      let bytes = try AMQPOracle.encode(properties)
      #expect(try MessageProperties(reading: bytes) == MessageProperties(properties), random.replay)
      #expect(MessageProperties.problem(in: bytes) == nil, random.replay)
    }
  }

  @Test func whatWarrenWritesWarrenReads() async throws {
    var random = ReplayableRandom()
    for _ in 0..<400 {
      await Task.yield()
      let properties = random.properties()
      var read = try MessageProperties(reading: properties.encoded.bytes)
      #expect(read.headers.removeValue(forKey: "warren-seq") == 0, random.replay)
      #expect(read == properties, random.replay)
    }
  }

  @Test func theNumberOfThePublishStandsWhereTheWriterSays() throws {
    var random = ReplayableRandom()
    for _ in 0..<200 {
      var (bytes, at) = random.properties().encoded
      let tag = random.next()
      for i in 0..<8 { bytes[at + i] = UInt8(truncatingIfNeeded: tag >> UInt64(56 - 8 * i)) }
      #expect(PublishHead.sequence(in: bytes) == tag, random.replay)
      #expect(try AMQPOracle.decode(bytes).headers?.first?.value == .i64(Int64(bitPattern: tag)), random.replay)
    }
  }

  @Test func keysThatStringDoesNotOrderAreOrderedToo() {
    let keys = ["é\u{1}", "e\u{301}", "e\u{301} ", "é0", "a", "z"]
    let expected = MessageProperties(headers: Dictionary(uniqueKeysWithValues: keys.map { ($0, 1) })).encoded.bytes
    var random = ReplayableRandom()
    for _ in 0..<50 {
      var headers: [String: HeaderValue] = [:]
      headers.reserveCapacity(random.int(0...100))
      for key in keys.shuffled(using: &random) { headers[key] = 1 }
      #expect(MessageProperties(headers: headers).encoded.bytes == expected, random.replay)
    }
  }

  @Test func equalHeadersAreEqualBytes() {
    var random = ReplayableRandom()
    for _ in 0..<100 {
      let headers = random.headers(upTo: 12, depth: 3)
      var again: [String: HeaderValue] = [:]
      for (key, value) in headers.shuffled(using: &random) { again[key] = value }
      #expect(
        MessageProperties(headers: headers).encoded.bytes == MessageProperties(headers: again).encoded.bytes,
        random.replay)
    }
  }

  @Test(arguments: [
    (scale: 0, value: 42, expected: 42.0), (2, 1234, 12.34), (2, -1234, -12.34), (9, 1, 1e-9), (255, 1, 1e-255),
    (0, Int(Int32.min), -2147483648.0),
  ])
  func aDecimalIsANumber(scale: UInt8, value: Int, expected: Double) throws {
    let field = AMQPOracle.Field.decimal(scale, UInt32(bitPattern: Int32(value)))
    let bytes = try AMQPOracle.encode(.init(headers: [.init(key: "price", value: field)]))
    guard case .double(let number) = try MessageProperties(reading: bytes).headers["price"] else {
      Issue.record("a decimal is no number")
      return
    }
    #expect(abs(number - expected) <= abs(expected) * 1e-12)
  }

  @Test func aTimestampFarOutsideAnyCalendarIsReadable() throws {
    for seconds in [UInt64.max, UInt64(Int64.max), 1 << 63] {
      let bytes = try AMQPOracle.encode(
        .init(headers: [.init(key: "at", value: .timestamp(seconds))], timestamp: seconds))
      let properties = try MessageProperties(reading: bytes)
      #expect(properties.timestamp == seconds)
      guard case .timestamp(let date) = properties.headers["at"] else {
        Issue.record("no timestamp")
        return
      }
      #expect(abs(date.timeIntervalSince1970) <= 8e12)
    }
  }

  @Test func ofTwoEntriesWithOneKeyTheLastCounts() throws {
    let bytes = try AMQPOracle.encode(
      .init(headers: [.init(key: "k", value: .i8(1)), .init(key: "k", value: .i8(2))]))
    #expect(try MessageProperties(reading: bytes).headers == ["k": 2])
  }
}
