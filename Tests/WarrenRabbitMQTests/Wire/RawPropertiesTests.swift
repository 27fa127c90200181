import Testing
import Warren

@testable import WarrenRabbitMQ

/// Properties of which single headers change while every other byte stays.
struct RawPropertiesTests {
  private func written(_ properties: RawProperties) -> [UInt8] {
    var writer = FieldWriter(capacity: 256)
    _ = properties.write(to: &writer)
    return writer.bytes
  }

  /// What `write` puts first.
  private static let sequence: [UInt8] = [10] + Array("warren-seq".utf8) + [UInt8(ascii: "l"), 0, 0, 0, 0, 0, 0, 0, 0]

  private func bytes(of table: [UInt8]) -> [UInt8] {
    let count = UInt32(table.count)
    return [UInt8(count >> 24), UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff)] + table
  }

  /// Against the writer that knows the properties, for random ones.
  @Test func whatItReadsItWritesAsItWas() async throws {
    var random = ReplayableRandom()
    for _ in 0..<300 {
      await Task.yield()
      let properties = random.properties()
      let bytes = properties.encoded.bytes
      var raw = try RawProperties(bytes)
      #expect(written(raw) == bytes, random.replay)
      let (readable, leftOut) = raw.readable
      var expected = try MessageProperties(reading: bytes)
      #expect(readable == expected, random.replay)
      #expect(leftOut.isEmpty)
      // One taken out, one put in.
      if let name = properties.headers.keys.sorted().first {
        raw.removeHeaders { $0 == name }
        expected.headers[name] = nil
      }
      raw.set("warren-edited-at", "now")
      expected.headers["warren-edited-at"] = "now"
      raw.remove(MessageProperties.Flag.userID)
      expected.userID = nil
      raw.remove(MessageProperties.Flag.contentType)
      expected.contentType = nil
      #expect(try MessageProperties(reading: written(raw)) == expected, random.replay)
    }
  }

  /// Kinds and properties that Warren never writes, as another library reads them back.
  @Test func foreignPropertiesStay() async throws {
    var random = ReplayableRandom()
    for _ in 0..<300 {
      await Task.yield()
      let properties = random.foreignProperties()
      var expected = properties
      expected.headers = [.init(key: "warren-seq", value: .i64(0))] + (properties.headers ?? [])
      let raw = try RawProperties(AMQPOracle.encode(properties))
      let found = try AMQPOracle.decode(written(raw))
      #expect(found == expected, random.replay)
    }
  }

  @Test func aTableDeeperThanAnybodyLooksStaysAsItIs() throws {
    var inner: [UInt8] = []
    for _ in 0..<5000 { inner = [1, UInt8(ascii: "k"), UInt8(ascii: "F")] + bytes(of: inner) }
    let id: [UInt8] = [2, UInt8(ascii: "i"), UInt8(ascii: "d")]
    let raw = try RawProperties([0x20, 0x80] + bytes(of: inner) + id)
    #expect(written(raw) == [0x20, 0x80] + bytes(of: Self.sequence + inner) + id)
    #expect(raw.header("k") == nil)
    #expect(raw.has("k"))
    #expect(raw.readable.leftOut == ["k"])
    #expect(raw.readable.properties.messageID == "id")
  }

  @Test func bytesThatAreNoTextStay() throws {
    let entry: [UInt8] = [2, 0xff, UInt8(ascii: "k"), UInt8(ascii: "S")] + bytes(of: [0xfe, 0xc0])
    let raw = try RawProperties([0x20, 0x00] + bytes(of: entry + entry))
    #expect(written(raw) == [0x20, 0x00] + bytes(of: Self.sequence + entry + entry))
  }

  @Test(
    arguments: [
      [], [0x20], [0x00, 0x01], [0x20, 0x00, 0, 0, 0, 9], [0x20, 0x00, 0, 0, 0, 3, 1, 0x6b, 0x53],
      [0x20, 0x00, 0, 0, 0, 4, 1, 0x6b, 0x3f, 0], [0x20, 0x00, 0, 0, 0, 3, 1, 0x6b, 0x74, 1], [0x00, 0x80, 5, 0x61],
      [0x20, 0x00, 0xff, 0xff, 0xff, 0xff],
    ] as [[UInt8]])
  func whatIsNoPropertyListIsRefused(bytes: [UInt8]) {
    #expect(throws: FieldReader.Malformed.self) { try RawProperties(bytes) }
  }

  @Test func aReturnedMessageGivesItsNumberWhateverElseItHas() throws {
    var properties = try RawProperties([0x20, 0x00] + bytes(of: [1, UInt8(ascii: "k"), UInt8(ascii: "t"), 1]))
    properties.set("warren-key", "k")
    let head = try PublishHead(queue: "q", properties: properties, bodySize: 3)
    var header = Array(head.bytes[(head.headerFrameOffset + 7 + 12)...].dropLast())
    let at = head.sequenceOffset - head.headerFrameOffset - 19
    header[at + 7] = 42
    #expect(PublishHead.sequence(in: header) == 42)
  }
}
