import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Which properties can be copied without losing any of them.
struct ExactPropertiesTests {
  /// A property list with nothing but headers: flag 13 and a table.
  private func headers(_ table: [UInt8]) -> [UInt8] {
    [0x20, 0x00, 0, 0, UInt8(table.count >> 8), UInt8(table.count & 0xff)] + table
  }

  @Test func whatReadsAndWritesAsItIsIsExact() throws {
    let plain = headers(
      Array("\u{1}a".utf8) + Array("S\0\0\0\u{2}é".utf8) + Array("\u{1}b".utf8) + Array("t\u{1}".utf8)
        + Array("\u{1}c".utf8) + Array("T".utf8) + [0, 0, 0, 0, 0x50, 0, 0, 0])
    let properties = try #require(MessageProperties.exact(plain))
    #expect(properties.headers["a"]?.string == "é")
    var writer = FieldWriter(capacity: 64)
    _ = properties.write(to: &writer)
    var read = try #require(MessageProperties.exact(writer.bytes))
    read.headers["warren-seq"] = nil
    #expect(read == properties)
  }

  /// Once published, it has a number; published again, another one and not two.
  @Test func aSecondPublishHasOneNumber() throws {
    var properties = MessageProperties()
    properties.headers["warren-seq"] = 7
    var writer = FieldWriter(capacity: 64)
    _ = properties.write(to: &writer)
    #expect(MessageProperties.exact(writer.bytes)?.headers["warren-seq"] == 0)
  }

  @Test func whatWouldBeWrittenDifferentlyIsNot() throws {
    let inexact: [(String, [UInt8])] = [
      ("no UTF-8 in a value", headers(Array("\u{1}aS\0\0\0\u{1}".utf8) + [0xff])),
      ("no UTF-8 in a key", headers([1, 0xff] + Array("t\u{1}".utf8))),
      ("a decimal", headers(Array("\u{1}aD\u{2}\0\0\0\u{7}".utf8))),
      ("a key twice", headers(Array("\u{1}at\u{1}\u{1}at\0".utf8))),
      ("a date out of range", headers(Array("\u{1}aT".utf8) + [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
      ("a message id that is no UTF-8", [0x00, 0x80, 2, 0xff, 0xfe]),
    ]
    for (what, bytes) in inexact {
      #expect(throws: Never.self, "\(what)") { try MessageProperties(reading: bytes) }
      #expect(MessageProperties.exact(bytes) == nil, "\(what)")
    }
    #expect(MessageProperties.exact([0x20]) == nil)
  }
}
