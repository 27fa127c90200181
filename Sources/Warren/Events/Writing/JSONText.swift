#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The bytes of a JSON text, written from front to back, in the spelling of Foundation's encoder.
struct JSONText: ~Copyable {
  /// A key and its value within an object: `"key":value`, without a comma.
  struct Member {
    var start: Int
    /// Of the key, without its quote.
    var keyEnd: Int
    var end: Int
  }

  private(set) var count = 0
  private var capacity = 512
  private var base: UnsafeMutablePointer<UInt8>

  init() { base = .allocate(capacity: capacity) }

  deinit { base.deallocate() }

  var data: Data { Data(bytes: base, count: count) }

  private mutating func reserve(_ more: Int) {
    if count + more > capacity { grow(more) }
  }

  private mutating func grow(_ more: Int) {
    capacity = max(2 * capacity, count + more)
    let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    larger.update(from: base, count: count)
    base.deallocate()
    base = larger
  }

  // MARK: Values

  mutating func byte(_ byte: UInt8) {
    reserve(1)
    base[count] = byte
    count += 1
  }

  mutating func word(_ word: StaticString) {
    append(UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
  }

  private mutating func append(_ bytes: UnsafeBufferPointer<UInt8>) {
    guard let start = bytes.baseAddress else { return }
    reserve(bytes.count)
    (base + count).update(from: start, count: bytes.count)
    count += bytes.count
  }

  mutating func bool(_ value: Bool) { word(value ? "true" : "false") }

  mutating func integer(_ value: Int64) {
    if value < 0 { byte(0x2d) }
    integer(value.magnitude)
  }

  mutating func integer(_ value: UInt64) {
    var width = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      width += 1
    }
    reserve(width)
    rest = value
    for at in stride(from: count + width - 1, through: count, by: -1) {
      base[at] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
    count += width
  }

  /// False, and nothing written, for what is no number.
  mutating func number(_ value: Double) -> Bool {
    // Not minus zero, nor what has an exponent.
    if let whole = Int64(exactly: value), whole != 0 || value.sign == .plus, whole.magnitude < 1 << 53 {
      integer(whole)
      return true
    }
    return description(value)
  }

  /// False, and nothing written, for what is no number.
  mutating func number(_ value: Float) -> Bool { description(value) }

  private mutating func description(_ value: some BinaryFloatingPoint & CustomStringConvertible) -> Bool {
    guard value.isFinite else { return false }
    var text = value.description
    text.withUTF8 { digits in
      let hasPointZero = digits.count > 2 && digits[digits.count - 2] == 0x2e && digits[digits.count - 1] == 0x30
      append(UnsafeBufferPointer(rebasing: digits.dropLast(hasPointZero ? 2 : 0)))
    }
    return true
  }

  /// A text in which nothing needs an escape.
  mutating func plain(_ value: String) {
    var value = value
    byte(0x22)
    value.withUTF8 { append($0) }
    byte(0x22)
  }

  /// Within ``Date/isRFC3339``.
  mutating func date(_ value: Date) {
    reserve(26)
    base[count] = 0x22
    value.writeRFC3339(UnsafeMutableBufferPointer(start: base + count + 1, count: 24))
    base[count + 25] = 0x22
    count += 26
  }

  mutating func string(_ value: String) {
    var value = value
    value.withUTF8 { text in
      reserve(text.count + 2)
      byte(0x22)
      let raw = UnsafeRawBufferPointer(text)
      var mark = 0
      var at = 0
      while at < text.count {
        if at + 8 <= text.count, !Self.hasEscape(raw.loadUnaligned(fromByteOffset: at, as: UInt64.self)) {
          at += 8
          continue
        }
        if Self.isEscaped(text[at]) {
          append(UnsafeBufferPointer(rebasing: text[mark..<at]))
          escape(text[at])
          mark = at + 1
        }
        at += 1
      }
      append(UnsafeBufferPointer(rebasing: text[mark...]))
      byte(0x22)
    }
  }

  private static func isEscaped(_ byte: UInt8) -> Bool { byte < 0x20 || byte == 0x22 || byte == 0x5c }

  /// Whether one of eight bytes may need an escape.
  private static func hasEscape(_ eight: UInt64) -> Bool {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let quotes = eight ^ (ones * 0x22)
    let slashes = eight ^ (ones * 0x5c)
    let below = (eight &- ones * 0x20) & ~eight
    return (below | ((quotes &- ones) & ~quotes) | ((slashes &- ones) & ~slashes)) & (ones * 0x80) != 0
  }

  private mutating func escape(_ byte: UInt8) {
    switch byte {
    case 0x22: word("\\\"")
    case 0x5c: word("\\\\")
    case 0x08: word("\\b")
    case 0x09: word("\\t")
    case 0x0a: word("\\n")
    case 0x0c: word("\\f")
    case 0x0d: word("\\r")
    default:
      word(byte < 0x10 ? "\\u000" : "\\u001")
      let digit = byte & 0x0f
      self.byte(digit < 10 ? 0x30 + digit : 0x57 + digit)
    }
  }

  // MARK: Objects

  /// Writes `"key":`. Nil for a key with an escape, whose bytes are not in the order of the key, and for one from U+0300 on: up
  /// there two spellings of one key may be equal, and below every text is its own normal form.
  mutating func key(_ key: String) -> Member? {
    var key = key
    return key.withUTF8 { text in
      reserve(text.count + 3)
      let start = count
      base[start] = 0x22
      for i in 0..<text.count {
        let byte = text[i]
        if Self.isEscaped(byte) || byte >= 0xcc { return nil }
        base[start + 1 + i] = byte
      }
      let end = start + 1 + text.count
      base[end] = 0x22
      base[end + 1] = 0x3a
      count = end + 2
      return Member(start: start, keyEnd: end, end: count)
    }
  }

  func key(of member: Member) -> String {
    String(decoding: key(member), as: UTF8.self)
  }

  private func key(_ member: Member) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: base + member.start + 1, count: member.keyEnd - member.start - 1)
  }

  /// By the bytes of the keys.
  func isOrdered(_ left: Member, _ right: Member) -> Bool {
    let (left, right) = (key(left), key(right))
    for i in 0..<min(left.count, right.count) where left[i] != right[i] { return left[i] < right[i] }
    return left.count < right.count
  }

  /// Puts the members at the end of the text, which stand one behind the other with a comma between, in the order of their
  /// keys. False when two keys are equal.
  mutating func sort(_ members: UnsafeMutableBufferPointer<Member>) -> Bool {
    guard let start = members.first?.start else { return true }
    var members = members
    members.sort { isOrdered($0, $1) }
    for i in 1..<members.count where !isOrdered(members[i - 1], members[i]) { return false }
    let length = count - start
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: length) { old in
      guard let source = old.baseAddress else { return }
      source.update(from: base + start, count: length)
      count = start
      for member in members {
        if count > start { byte(0x2c) }
        append(UnsafeBufferPointer(start: source + member.start - start, count: member.end - member.start))
      }
    }
    return true
  }
}
