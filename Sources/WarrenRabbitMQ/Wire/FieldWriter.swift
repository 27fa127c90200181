import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Writes AMQP's primitive values (0-9-1 §4.2.5, with RabbitMQ's list of field types) behind each other.
///
/// Tables go through here rather than through librabbitmq's encoder, because that one wants a tree of C structs first:
/// it costs an allocation for every string of every event.
///
/// Into memory of its own and not into an array, which would look with each value whether it is shared: sixty times for an
/// event.
struct FieldWriter: ~Copyable {
  private var memory: UnsafeMutableRawBufferPointer
  private(set) var count = 0

  init(capacity: Int) { memory = .allocate(byteCount: max(16, capacity), alignment: 1) }

  deinit { memory.deallocate() }

  /// A copy of what was written.
  var bytes: [UInt8] { [UInt8](memory[..<count]) }

  /// Room for so many more bytes, which `write` fills.
  private mutating func add(_ more: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) {
    if count + more > memory.count { grow(more) }
    write(UnsafeMutableRawBufferPointer(rebasing: memory[count..<(count + more)]))
    count += more
  }

  private mutating func grow(_ more: Int) {
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: max(2 * memory.count, count + more), alignment: 1)
    larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[..<count]))
    memory.deallocate()
    memory = larger
  }

  private mutating func number(_ value: some FixedWidthInteger) {
    add(value.bitWidth / 8) { $0.storeBytes(of: value.bigEndian, as: type(of: value)) }
  }

  mutating func u8(_ value: UInt8) { number(value) }
  mutating func u16(_ value: UInt16) { number(value) }
  mutating func u32(_ value: UInt32) { number(value) }
  mutating func u64(_ value: UInt64) { number(value) }

  mutating func raw(_ source: UnsafeRawBufferPointer) { add(source.count) { $0.copyMemory(from: source) } }
  mutating func raw(_ source: [UInt8]) { source.withUnsafeBytes { raw($0) } }
  mutating func raw(_ source: ArraySlice<UInt8>) { source.withUnsafeBytes { raw($0) } }
  mutating func raw(_ source: Data) { source.withUnsafeBytes { raw($0) } }

  /// At most 255 bytes: the caller has checked.
  mutating func shortString(_ text: String) {
    var text = text
    text.withUTF8 { utf8 in
      u8(UInt8(truncatingIfNeeded: utf8.count))
      raw(UnsafeRawBufferPointer(utf8))
    }
  }

  mutating func longString(_ text: String) {
    var text = text
    text.withUTF8 { utf8 in
      u32(UInt32(truncatingIfNeeded: utf8.count))
      raw(UnsafeRawBufferPointer(utf8))
    }
  }

  /// RFC 3339, 24 bytes, as a long string.
  mutating func longString(_ time: Date) {
    u32(24)
    add(24) { time.writeRFC3339($0.bindMemory(to: UInt8.self)) }
  }

  /// Leaves room for a 32-bit length, writes what `body` writes, and fills the length in.
  mutating func counted(_ body: (inout FieldWriter) -> Void) {
    let at = count
    u32(0)
    body(&self)
    patch(UInt32(truncatingIfNeeded: count - at - 4), at: at)
  }

  mutating func patch(_ value: UInt32, at: Int) {
    precondition(at >= 0 && at + 4 <= count)
    memory.storeBytes(of: value.bigEndian, toByteOffset: at, as: UInt32.self)
  }

  mutating func field(_ value: HeaderValue) {
    switch value {
    case .string(let text):
      u8(UInt8(ascii: "S"))
      longString(text)
    case .int(let number):
      u8(UInt8(ascii: "l"))
      u64(UInt64(bitPattern: number))
    case .double(let number):
      u8(UInt8(ascii: "d"))
      u64(number.bitPattern)
    case .bool(let flag):
      u8(UInt8(ascii: "t"))
      u8(flag ? 1 : 0)
    case .bytes(let raw):
      u8(UInt8(ascii: "x"))
      u32(UInt32(truncatingIfNeeded: raw.count))
      self.raw(raw)
    case .timestamp(let date):
      u8(UInt8(ascii: "T"))
      u64(UInt64(bitPattern: date.milliseconds.floorDivided(by: 1000)))
    case .array(let values):
      u8(UInt8(ascii: "A"))
      counted { (writer: inout FieldWriter) in for value in values { writer.field(value) } }
    case .table(let entries):
      u8(UInt8(ascii: "F"))
      counted { $0.entries(entries) }
    case .null:
      u8(UInt8(ascii: "V"))
    }
  }

  mutating func entry(_ key: String, _ value: HeaderValue) {
    shortString(key)
    field(value)
  }

  mutating func entry(_ key: TextHeader, _ text: String?) {
    guard let text else { return }
    raw(key.head)
    longString(text)
  }

  /// By the bytes of the key, so that equal tables are equal bytes: `<` of String leaves some keys without an order
  /// ("é\u{1}" and "e\u{301}" are neither equal nor one before the other).
  mutating func entries(_ entries: [String: HeaderValue]) {
    for (key, value) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) { entry(key, value) }
  }
}

/// A header that is always a text: its name and its kind as they are written, because they are written for every event.
struct TextHeader: Sendable {
  let head: [UInt8]
  init(_ name: String) {
    var writer = FieldWriter(capacity: name.utf8.count + 2)
    writer.shortString(name)
    writer.u8(UInt8(ascii: "S"))
    head = writer.bytes
  }
}

extension Int64 {
  fileprivate func floorDivided(by divisor: Int64) -> Int64 {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }
}
