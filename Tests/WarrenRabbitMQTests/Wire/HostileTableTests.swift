import CRabbitMQ
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Properties of strangers: whatever stands there, it is read or refused, and nothing breaks.
@Suite(.timeLimit(.minutes(1))) struct HostileTableTests {
  private static let headersOnly: [UInt8] = [0x20, 0x00]

  /// Content headers whose headers are these bytes, with the right length in front.
  private static func headers(_ entries: [UInt8]) -> [UInt8] { headersOnly + length(entries.count) + entries }

  private static func length(_ count: Int) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) }
  }

  private static func problem(_ bytes: [UInt8]) -> String? {
    let seen = MessageProperties.problem(in: bytes)
    do {
      _ = try MessageProperties(reading: bytes)
      #expect(seen == nil)
    } catch {
      #expect(seen == error.text)
    }
    return seen
  }

  @Test func aListThatIsCutAnywhereIsRefused() async throws {
    var random = ReplayableRandom()
    var properties = MessageProperties(
      contentType: "application/json", contentEncoding: "gzip", deliveryMode: 2, priority: 1, correlationID: "c",
      replyTo: "r", expiration: "1000", messageID: "m", timestamp: 7, type: "t", userID: "u", appID: "a", clusterID: "k"
    )
    properties.headers = [
      "string": "s", "int": 1, "double": .double(1), "bool": true, "bytes": .bytes([1, 2]),
      "timestamp": .timestamp(Date(timeIntervalSince1970: 0)), "null": .null,
      "array": .array([1, "two", .table(["three": .null])]),
      "table": .table(["inner": .table(["innermost": 3])]),
    ]
    for properties in [properties] + (0..<20).map({ _ in random.properties() }) {
      await Task.yield()
      let bytes = properties.encoded.bytes
      #expect(Self.problem(bytes) == nil, random.replay)
      for count in 0..<bytes.count { #expect(Self.problem(Array(bytes.prefix(count))) != nil, random.replay) }
      // What stands behind the list is nobody's.
      #expect(Self.problem(bytes + [1, 2, 3]) == nil, random.replay)
    }
  }

  @Test func aTableThatIsCutAndSaysSoIsRefused() {
    let entries: [UInt8] = [
      1, UInt8(ascii: "a"), UInt8(ascii: "S"), 0, 0, 0, 2, 0x68, 0x69,
      1, UInt8(ascii: "b"), UInt8(ascii: "F"), 0, 0, 0, 4, 1, UInt8(ascii: "c"), UInt8(ascii: "t"), 1,
    ]
    #expect(Self.problem(Self.headers(entries)) == nil)
    for count in 1..<entries.count where count != 9 {
      #expect(Self.problem(Self.headers(Array(entries.prefix(count)))) != nil, "\(count) bytes")
    }
  }

  @Test(arguments: [5, 255, 256, 0x7fff_ffff, 0xffff_ffff])
  func lengthsBeyondTheEndAreRefused(length: Int) {
    let claim = Self.length(length)
    // Of the table, of a string, of bytes, of an inner table, of an array, and of a key.
    #expect(Self.problem(Self.headersOnly + claim + [1, 0x61, 0x56]) != nil)
    for kind in "SxFA".unicodeScalars {
      #expect(Self.problem(Self.headers([1, 0x61, UInt8(ascii: kind)] + claim + [0])) != nil, "\(kind)")
    }
    #expect(Self.problem(Self.headers([UInt8(min(length, 255)), 0x61, 0x56])) != nil)
  }

  @Test func anInnerLengthMayNotReachOverItsTable() {
    // The inner string would end inside the message but outside its table.
    let inner: [UInt8] = [1, 0x62, UInt8(ascii: "S"), 0, 0, 0, 5, 0x68]
    let entries: [UInt8] = [1, 0x61, UInt8(ascii: "F")] + Self.length(inner.count) + inner
    #expect(Self.problem(Self.headers(entries + [1, 0x63, 0x56, 1, 0x64, 0x56])) != nil)
  }

  @Test func aKindThatNobodyKnowsIsRefusedByNumber() {
    let known = Set("tbBsuIilLfdDSxAFTV".unicodeScalars.map { UInt8(ascii: $0) })
    for kind in UInt8.min...UInt8.max {
      let problem = Self.problem(
        Self.headers([1, 0x61, kind] + [UInt8](repeating: 0, count: known.contains(kind) ? 0 : 16)))
      if !known.contains(kind) { #expect(problem == "the field type \(kind) is unknown") }
    }
  }

  @Test func furtherFlagsAreRefused() {
    #expect(Self.problem([0x00, 0x01, 0, 0]) == "the property flags have a continuation")
    // A bit that class basic does not use says nothing.
    #expect(Self.problem([0x00, 0x02]) == nil)
  }

  @Test func bytesThatAreNoUTF8AreSeenAsSuch() throws {
    let bytes = Self.headers([1, 0xff, UInt8(ascii: "S"), 0, 0, 0, 3, 0x61, 0xc3, 0x28, 1, 0x62, 0x56])
    #expect(try MessageProperties(reading: bytes).headers == ["\u{fffd}": "a\u{fffd}(", "b": .null])
    #expect(MessageProperties.problem(in: bytes) == nil)
    // message-id of three bytes.
    #expect(try MessageProperties(reading: [0x00, 0x80, 3, 0xf0, 0x9f, 0x41]).messageID == "\u{fffd}A")
  }

  // MARK: Nesting

  /// `levels` tables inside each other; the innermost is empty. With `arrays`, arrays in one table.
  private static func nested(_ levels: Int, arrays: Bool = false) -> [UInt8] {
    let around = arrays ? 1 : 3
    var bytes = headersOnly
    for level in 1...levels {
      let contents = level == levels ? 0 : (levels - level) * (4 + around) + (arrays && level == 1 ? 2 : 0)
      bytes += length(contents)
      if level == levels { break }
      if !arrays || level == 1 { bytes += [1, 0x6b] }
      bytes.append(UInt8(ascii: arrays ? "A" : "F"))
    }
    return bytes
  }

  @Test(arguments: [false, true]) func thirtyTwoLevelsAreReadAndNotOneMore(arrays: Bool) throws {
    for levels in 1...32 { #expect(Self.problem(Self.nested(levels, arrays: arrays)) == nil, "\(levels) levels") }
    #expect(try AMQPOracle.decode(Self.nested(32, arrays: arrays)).headers?.count == 1)
    var value = HeaderValue.table(try MessageProperties(reading: Self.nested(32, arrays: arrays)).headers)
    var depth = 1
    while true {
      if case .table(let inner) = value, let next = inner["k"] {
        value = next
      } else if case .array(let inner) = value, let next = inner.first {
        value = next
      } else {
        break
      }
      depth += 1
    }
    #expect(depth == 32)
    for levels in [33, 34, 100] {
      #expect(
        Self.problem(Self.nested(levels, arrays: arrays)) == "tables are nested more than 32 deep", "\(levels) levels")
    }
  }

  @Test(arguments: [false, true]) func twentyThousandLevelsBreakNoSmallStack(arrays: Bool) async {
    let bytes = Self.nested(20_000, arrays: arrays)
    #expect(bytes.count > 100_000)
    let onATask = await Task.detached { Self.problem(bytes) }.value
    #expect(onATask == "tables are nested more than 32 deep")
    // As small as stacks are where Swift runs tasks; 20,000 frames need more than ten times that.
    let seen = Watched<String?>(nil)
    startDetachedThread(name: "small-stack", stackSize: 512 << 10) {
      let problem = MessageProperties.problem(in: bytes)
      let isReadable = (try? MessageProperties(reading: bytes)) != nil
      seen.update { $0 = isReadable ? "read" : problem }
    }
    #expect(await seen.wait(timeout: .seconds(20)) { $0 != nil } == "tables are nested more than 32 deep")
  }

  // MARK: Random bytes

  @Test func readingAndLookingAgreeOnRandomBytes() async throws {
    var random = ReplayableRandom()
    var (good, bad) = (0, 0)
    var samples = (0..<50).map { _ in random.properties().encoded.bytes }
    samples += try (0..<50).map { _ in try AMQPOracle.encode(random.foreignProperties()) }
    samples.removeAll { $0.count > 600 }
    for number in 0..<100_000 {
      if number % 500 == 0 { await Task.yield() }
      var bytes: [UInt8]
      if number % 2 == 0 {
        bytes = random.bytes(random.int(0...40))
        // Else the flags alone would end most of them.
        if bytes.count > 6, random.oneIn(2) { bytes.replaceSubrange(0..<5, with: Self.headersOnly + [0, 0, 0]) }
      } else {
        bytes = random.pick(samples)
        for _ in 0..<random.int(1...3) where !bytes.isEmpty {
          let at = random.int(0...bytes.count - 1)
          switch random.int(0...3) {
          case 0: bytes[at] = UInt8(random.int(0...255))
          case 1: bytes[at] ^= 1 << UInt8(random.int(0...7))
          case 2: bytes.remove(at: at)
          default: bytes.insert(UInt8(random.int(0...255)), at: at)
          }
        }
      }
      let problem = MessageProperties.problem(in: bytes)
      do {
        _ = try MessageProperties(reading: bytes)
        good += 1
        guard problem == nil else {
          Issue.record("\(bytes) is read, but \(problem ?? ""). \(random.replay)")
          return
        }
        // The library is more patient in places, but what is good here is good there.
        if number % 20 == 1 { _ = try AMQPOracle.decode(bytes) }
      } catch let error as FieldReader.Malformed {
        bad += 1
        guard problem == error.text else {
          Issue.record("\(bytes): \(error.text), but \(problem ?? "no problem"). \(random.replay)")
          return
        }
      }
    }
    #expect(good > 1000 && bad > 1000, random.replay)
  }
}
