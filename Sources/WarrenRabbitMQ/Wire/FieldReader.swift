import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Reads AMQP's primitive values out of strangers' bytes: every length is checked against what is there, and nesting is
/// bounded, because tasks run on small stacks.
struct FieldReader {
  struct Malformed: Error, Equatable { var text: String }

  static let deepest = 32
  private let bytes: [UInt8]
  private var at: Int
  private var end: Int
  /// False once something was read that would be written differently: text that is no UTF-8, a decimal, a date out of range, a
  /// key that stands twice.
  private(set) var isExact = true

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    at = 0
    end = bytes.count
  }

  var isAtEnd: Bool { at == end }
  /// How many bytes were read.
  var position: Int { at }

  private mutating func take(_ count: Int) throws(Malformed) -> Range<Int> {
    guard count >= 0, count <= end - at else { throw Malformed(text: "it ends in the middle of a value") }
    defer { at += count }
    return at..<(at + count)
  }

  mutating func number(_ size: Int) throws(Malformed) -> UInt64 {
    var value: UInt64 = 0
    for i in try take(size) { value = value << 8 | UInt64(bytes[i]) }
    return value
  }

  /// Bytes that are no UTF-8 are replaced by U+FFFD: a header must not keep a message from being seen.
  mutating func shortString() throws(Malformed) -> String {
    text(bytes[try take(Int(try number(1)))])
  }

  private mutating func text(_ bytes: ArraySlice<UInt8>) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    isExact = false
    return String(decoding: bytes, as: UTF8.self)
  }

  mutating func skipShortString() throws(Malformed) { _ = try take(Int(try number(1))) }

  private mutating func longBytes() throws(Malformed) -> ArraySlice<UInt8> {
    bytes[try take(Int(try number(4)))]
  }

  mutating func table(depth: Int = 0) throws(Malformed) -> [String: HeaderValue] {
    var table: [String: HeaderValue] = [:]
    try counted(depth) { reader throws(Malformed) in
      let key = try reader.shortString()
      if table.updateValue(try reader.field(depth: depth + 1), forKey: key) != nil { reader.isExact = false }
    }
    return table
  }

  /// Calls `body` until the table or array that begins here is read.
  private mutating func counted(
    _ depth: Int, _ body: (inout FieldReader) throws(Malformed) -> Void
  ) throws(Malformed) {
    guard depth < Self.deepest else { throw Malformed(text: "tables are nested more than \(Self.deepest) deep") }
    let range = try take(Int(try number(4)))
    let outer = (at, end)
    (at, end) = (range.lowerBound, range.upperBound)
    while at < end { try body(&self) }
    (at, end) = outer
  }

  // MARK: Looking without keeping

  mutating func skip(_ size: Int) throws(Malformed) { _ = try take(size) }

  /// Walks over a table, so that a broken one is found without building it.
  mutating func skipTable(depth: Int = 0) throws(Malformed) {
    try counted(depth) { reader throws(Malformed) in
      try reader.skipShortString()
      try reader.skipField(depth: depth + 1)
    }
  }

  /// Walks over one value without looking into tables and arrays, however deep they are: their length stands in front.
  mutating func skipFieldWhole() throws(Malformed) {
    let start = at
    switch Unicode.Scalar(UInt8(try number(1))) {
    case "F", "A": _ = try take(Int(try number(4)))
    default:
      at = start
      try skipField(depth: 0)
    }
  }

  private mutating func skipField(depth: Int) throws(Malformed) {
    let kind = UInt8(try number(1))
    switch Unicode.Scalar(kind) {
    case "S", "x": _ = try take(Int(try number(4)))
    case "t", "b", "B": try skip(1)
    case "s", "u": try skip(2)
    case "I", "i", "f": try skip(4)
    case "D": try skip(5)
    case "l", "L", "d", "T": try skip(8)
    case "V": break
    case "F": try skipTable(depth: depth)
    case "A": try counted(depth) { reader throws(Malformed) in try reader.skipField(depth: depth + 1) }
    default: throw Malformed(text: "the field type \(kind) is unknown")
    }
  }

  /// A value with its kind in front.
  mutating func field(depth: Int) throws(Malformed) -> HeaderValue {
    let kind = UInt8(try number(1))
    switch Unicode.Scalar(kind) {
    case "S": return .string(text(try longBytes()))
    case "x": return .bytes(Array(try longBytes()))
    case "t": return .bool(try number(1) != 0)
    case "b": return .int(Int64(Int8(truncatingIfNeeded: try number(1))))
    case "B": return .int(Int64(try number(1)))
    case "s": return .int(Int64(Int16(truncatingIfNeeded: try number(2))))
    case "u": return .int(Int64(try number(2)))
    case "I": return .int(Int64(Int32(truncatingIfNeeded: try number(4))))
    case "i": return .int(Int64(try number(4)))
    // RabbitMQ reads L as signed too.
    case "l", "L": return .int(Int64(bitPattern: try number(8)))
    case "f": return .double(Double(Float(bitPattern: UInt32(try number(4)))))
    case "d": return .double(Double(bitPattern: try number(8)))
    case "D":
      isExact = false
      let scale = try number(1)
      var value = Double(Int32(truncatingIfNeeded: try number(4)))
      for _ in 0..<scale { value /= 10 }
      return .double(value)
    case "T":
      let seconds = try number(8)
      let date = Date(seconds: seconds)
      if Int64(date.timeIntervalSince1970) != Int64(bitPattern: seconds) { isExact = false }
      return .timestamp(date)
    case "V": return .null
    case "F": return .table(try table(depth: depth))
    case "A":
      var values: [HeaderValue] = []
      try counted(depth) { reader throws(Malformed) in values.append(try reader.field(depth: depth + 1)) }
      return .array(values)
    default: throw Malformed(text: "the field type \(kind) is unknown")
    }
  }
}

extension Date {
  /// AMQP's timestamp; saturates far outside any real date.
  init(seconds: UInt64) {
    let signed = Int64(bitPattern: seconds)
    self.init(timeIntervalSince1970: Double(max(-8_000_000_000_000, min(8_000_000_000_000, signed))))
  }
}
