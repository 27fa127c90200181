/// A JSON text as a list of its values, in the order of the text: strict (RFC 8259), and only what is common. What is not,
/// such as a surrogate in an escape, gives no tape, and Foundation's decoder has the word.
struct JSONTape: Sendable {
  enum Kind: UInt8, Sendable {
    case null, yes, no
    /// Digits only, and a sign.
    case integer
    case number
    case text
    /// A text with escapes in it.
    case escaped
    case array, object
  }

  /// One value. Behind an object stand its keys and values in turn, behind an array its elements.
  struct Token: Sendable {
    var kind: Kind
    /// Of texts without their quotes.
    var start: Int32
    var end: Int32
    /// The token behind this one and all that is in it.
    var next: Int32
    /// Elements of an array, keys of an object.
    var count: Int32 = 0
  }

  let bytes: [UInt8]
  let tokens: [Token]

  private static let deepest = 100
  private static let largest = 1 << 24

  init?(_ bytes: [UInt8]) {
    guard bytes.count < Self.largest else { return nil }
    var tokens: [Token] = []
    tokens.reserveCapacity(32)
    let isASCII: Bool? = bytes.withUnsafeBufferPointer { buffer in
      var parser = Parser(bytes: buffer)
      parser.skipSpace()
      guard parser.value(&tokens, depth: 0) else { return nil }
      parser.skipSpace()
      return parser.at == buffer.count ? parser.isASCII : nil
    }
    guard let isASCII else { return nil }
    // One look at the whole instead of one at each text.
    if !isASCII, String(validating: bytes, as: UTF8.self) == nil { return nil }
    self.bytes = bytes
    self.tokens = tokens
  }

  private struct Parser {
    let bytes: UnsafeBufferPointer<UInt8>
    var at = 0
    var isASCII = true

    var here: UInt8 { at < bytes.count ? bytes[at] : 0 }

    mutating func skipSpace() {
      while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0a || bytes[at] == 0x0d || bytes[at] == 0x09 {
        at += 1
      }
    }

    mutating func value(_ tokens: inout [Token], depth: Int) -> Bool {
      switch here {
      case 0x22: return text(&tokens, isKey: false)
      case 0x7b: return depth < JSONTape.deepest && object(&tokens, depth: depth)
      case 0x5b: return depth < JSONTape.deepest && array(&tokens, depth: depth)
      case 0x74: return word("true", .yes, &tokens)
      case 0x66: return word("false", .no, &tokens)
      case 0x6e: return word("null", .null, &tokens)
      default: return number(&tokens)
      }
    }

    private mutating func word(_ word: StaticString, _ kind: Kind, _ tokens: inout [Token]) -> Bool {
      let start = at
      let count = word.utf8CodeUnitCount
      guard at + count <= bytes.count else { return false }
      for i in 0..<count where bytes[at + i] != word.utf8Start[i] { return false }
      at += count
      push(kind, start, at, &tokens)
      return true
    }

    private func push(_ kind: Kind, _ start: Int, _ end: Int, _ tokens: inout [Token]) {
      tokens.append(Token(kind: kind, start: Int32(start), end: Int32(end), next: Int32(tokens.count + 1)))
    }

    private mutating func number(_ tokens: inout [Token]) -> Bool {
      let start = at
      if here == 0x2d { at += 1 }
      func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
      guard isDigit(here) else { return false }
      if here == 0x30 {
        at += 1
      } else {
        while isDigit(here) { at += 1 }
      }
      var kind = Kind.integer
      if here == 0x2e {
        kind = .number
        at += 1
        guard isDigit(here) else { return false }
        while isDigit(here) { at += 1 }
      }
      if here | 0x20 == 0x65 {
        kind = .number
        at += 1
        if here == 0x2b || here == 0x2d { at += 1 }
        guard isDigit(here) else { return false }
        while isDigit(here) { at += 1 }
      }
      push(kind, start, at, &tokens)
      return true
    }

    private mutating func text(_ tokens: inout [Token], isKey: Bool) -> Bool {
      at += 1
      let start = at
      var kind = Kind.text
      var bits: UInt8 = 0
      while at < bytes.count {
        let byte = bytes[at]
        if byte == 0x22 {
          if bits >= 0x80 {
            // To `String` two spellings of one key may be equal.
            if isKey { return false }
            isASCII = false
          }
          push(kind, start, at, &tokens)
          at += 1
          return true
        }
        if byte < 0x20 { return false }
        if byte == 0x5c {
          guard !isKey, escape() else { return false }
          kind = .escaped
          continue
        }
        bits |= byte
        at += 1
      }
      return false
    }

    /// Surrogates, which come in pairs or not at all, are not for here.
    private mutating func escape() -> Bool {
      guard at + 1 < bytes.count else { return false }
      switch bytes[at + 1] {
      case 0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74:
        at += 2
        return true
      case 0x75:
        guard at + 6 <= bytes.count, let code = JSONTape.hex(bytes[(at + 2)..<(at + 6)]) else { return false }
        at += 6
        return code & 0xf800 != 0xd800
      default: return false
      }
    }

    private mutating func array(_ tokens: inout [Token], depth: Int) -> Bool {
      let index = tokens.count
      push(.array, at, at, &tokens)
      at += 1
      skipSpace()
      var count: Int32 = 0
      if here == 0x5d {
        at += 1
      } else {
        while true {
          guard value(&tokens, depth: depth + 1) else { return false }
          count += 1
          skipSpace()
          if here == 0x2c {
            at += 1
            skipSpace()
            continue
          }
          guard here == 0x5d else { return false }
          at += 1
          break
        }
      }
      close(index, count, &tokens)
      return true
    }

    private mutating func object(_ tokens: inout [Token], depth: Int) -> Bool {
      let index = tokens.count
      push(.object, at, at, &tokens)
      at += 1
      skipSpace()
      var count: Int32 = 0
      if here == 0x7d {
        at += 1
      } else {
        while true {
          guard here == 0x22, text(&tokens, isKey: true) else { return false }
          skipSpace()
          guard here == 0x3a else { return false }
          at += 1
          skipSpace()
          guard value(&tokens, depth: depth + 1) else { return false }
          count += 1
          skipSpace()
          if here == 0x2c {
            at += 1
            skipSpace()
            continue
          }
          guard here == 0x7d else { return false }
          at += 1
          break
        }
      }
      close(index, count, &tokens)
      return true
    }

    private func close(_ index: Int, _ count: Int32, _ tokens: inout [Token]) {
      tokens[index].count = count
      tokens[index].end = Int32(at)
      tokens[index].next = Int32(tokens.count)
    }
  }

  fileprivate static func hex(_ digits: some Collection<UInt8>) -> UInt32? {
    var value: UInt32 = 0
    for digit in digits {
      switch digit {
      case 0x30...0x39: value = value << 4 | UInt32(digit - 0x30)
      case 0x41...0x46: value = value << 4 | UInt32(digit - 0x37)
      case 0x61...0x66: value = value << 4 | UInt32(digit - 0x57)
      default: return nil
      }
    }
    return value
  }

  // MARK: Values

  func text(_ token: Token) -> String {
    let slice = bytes[Int(token.start)..<Int(token.end)]
    guard token.kind == .escaped else { return String(decoding: slice, as: UTF8.self) }
    var out: [UInt8] = []
    out.reserveCapacity(slice.count)
    var at = slice.startIndex
    while at < slice.endIndex {
      guard slice[at] == 0x5c else {
        out.append(slice[at])
        at += 1
        continue
      }
      switch slice[at + 1] {
      case 0x62: out.append(0x08)
      case 0x66: out.append(0x0c)
      case 0x6e: out.append(0x0a)
      case 0x72: out.append(0x0d)
      case 0x74: out.append(0x09)
      case 0x75:
        // It was looked at when the tape was made.
        let code = Self.hex(slice[(at + 2)..<(at + 6)]).flatMap(Unicode.Scalar.init) ?? "\u{fffd}"
        out.append(contentsOf: String(Character(code)).utf8)
        at += 4
      case let byte: out.append(byte)
      }
      at += 2
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// Nil for what needs a second look: too many digits, or minus zero.
  func integer(_ token: Token) -> Int64? {
    var (at, end) = (Int(token.start), Int(token.end))
    let isNegative = bytes[at] == 0x2d
    if isNegative { at += 1 }
    guard end - at <= 18, !(isNegative && bytes[at] == 0x30) else { return nil }
    var value: Int64 = 0
    while at < end {
      value = value * 10 + Int64(bytes[at] - 0x30)
      at += 1
    }
    end = 0
    return isNegative ? -value : value
  }

  /// The nearest one; nil for what needs a second look.
  func double(_ token: Token) -> Double? {
    if token.kind == .integer, token.end - token.start <= 15 { return integer(token).map(Double.init) }
    let text = String(decoding: bytes[Int(token.start)..<Int(token.end)], as: UTF8.self)
    guard let value = Double(text), value.isFinite else { return nil }
    // Nearly nothing, which is rounded or refused.
    if !value.isNormal, text.utf8.contains(where: { $0 >= 0x31 && $0 <= 0x39 }) { return nil }
    return value
  }

  func isKey(_ token: Token, _ key: inout String) -> Bool {
    let start = Int(token.start)
    let count = Int(token.end) - start
    return key.withUTF8 { other in
      guard other.count == count else { return false }
      for i in 0..<count where bytes[start + i] != other[i] { return false }
      return true
    }
  }
}
