#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A JSON text as a list of its values, in the order of the text: strict (RFC 8259), and only what is common. What is not,
/// such as a surrogate in an escape, gives no tape, and Foundation's decoder has the word.
///
/// A class of constants over raw memory of its own: whatever else it were made of, each value that is read would take hold of
/// it and let go again, which costs more than the value.
class JSONTape {
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

  private static let deepest = 100
  private static let largest = 1 << 24

  private let bytes: UnsafeBufferPointer<UInt8>
  private let tokens: UnsafeBufferPointer<Token>

  /// - Parameter keys: the text is read as if it were the value of the last of them, in an object that is the value of the one
  ///   before, and so on.
  init?(_ text: UnsafeBufferPointer<UInt8>, in keys: [String] = []) {
    guard text.count < JSONTape.largest else { return nil }
    var parser = Parser(bytes: text)
    var size = text.count
    for key in keys {
      let count = key.utf8.count
      guard count < 1024, key.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
      parser.open(keyFrom: size, to: size + count)
      size += count
    }
    parser.skipSpace()
    guard parser.value(depth: keys.count) else { return nil }
    parser.skipSpace()
    guard parser.at == text.count else { return nil }
    for depth in keys.indices { parser.close(2 * depth, 1) }
    // One look at the whole instead of one at each text.
    if !parser.isASCII, String(validating: text, as: UTF8.self) == nil { return nil }
    let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: size)
    var end = copy[..<text.count].initialize(fromContentsOf: text)
    for key in keys {
      for byte in key.utf8 {
        copy.initializeElement(at: end, to: byte)
        end += 1
      }
    }
    bytes = UnsafeBufferPointer(copy)
    tokens = parser.tokens.take()
  }

  deinit {
    bytes.deallocate()
    tokens.deallocate()
  }

  /// True for a text that a tape can be made of.
  static func reads(_ body: Data) -> Bool {
    body.withUnsafeBytes { JSONTape($0.bindMemory(to: UInt8.self)) != nil }
  }

  final subscript(index: Int) -> Token {
    precondition(index >= 0 && index < tokens.count)
    return tokens[index]
  }

  /// The token behind a value.
  final func behind(_ index: Int) -> Int { Int(self[index].next) }

  final func slice(_ token: Token) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(rebasing: bytes[Int(token.start)..<Int(token.end)])
  }

  /// A list that grows, and whose memory is taken from it in the end.
  private struct Tokens: ~Copyable {
    private var memory: UnsafeMutableBufferPointer<Token>
    private(set) var count = 0

    init(capacity: Int) { memory = .allocate(capacity: capacity) }
    deinit { memory.deallocate() }

    subscript(index: Int) -> Token {
      get {
        precondition(index >= 0 && index < count)
        return memory[index]
      }
      set {
        precondition(index >= 0 && index < count)
        memory[index] = newValue
      }
    }

    mutating func append(_ token: Token) {
      if count == memory.count {
        let larger = UnsafeMutableBufferPointer<Token>.allocate(capacity: count * 2)
        _ = larger.moveInitialize(fromContentsOf: memory)
        memory.deallocate()
        memory = larger
      }
      memory.initializeElement(at: count, to: token)
      count += 1
    }

    consuming func take() -> UnsafeBufferPointer<Token> {
      let taken = UnsafeBufferPointer(rebasing: memory[..<count])
      discard self
      return taken
    }
  }

  private struct Parser: ~Copyable {
    let bytes: UnsafeBufferPointer<UInt8>
    var tokens = Tokens(capacity: 32)
    var at = 0
    var isASCII = true

    var here: UInt8 { at < bytes.count ? bytes[at] : 0 }

    mutating func skipSpace() {
      while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0a || bytes[at] == 0x0d || bytes[at] == 0x09 {
        at += 1
      }
    }

    mutating func value(depth: Int) -> Bool {
      switch here {
      case 0x22: return text(isKey: false)
      case 0x7b: return depth < JSONTape.deepest && object(depth: depth)
      case 0x5b: return depth < JSONTape.deepest && array(depth: depth)
      case 0x74: return word("true", .yes)
      case 0x66: return word("false", .no)
      case 0x6e: return word("null", .null)
      default: return number()
      }
    }

    private mutating func word(_ word: StaticString, _ kind: Kind) -> Bool {
      let start = at
      let count = word.utf8CodeUnitCount
      guard at + count <= bytes.count else { return false }
      for i in 0..<count where bytes[at + i] != word.utf8Start[i] { return false }
      at += count
      push(kind, start, at)
      return true
    }

    private mutating func push(_ kind: Kind, _ start: Int, _ end: Int) {
      tokens.append(Token(kind: kind, start: Int32(start), end: Int32(end), next: Int32(tokens.count + 1)))
    }

    private mutating func number() -> Bool {
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
      push(kind, start, at)
      return true
    }

    private mutating func text(isKey: Bool) -> Bool {
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
          push(kind, start, at)
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

    private mutating func array(depth: Int) -> Bool {
      let index = tokens.count
      push(.array, at, at)
      at += 1
      skipSpace()
      var count: Int32 = 0
      if here == 0x5d {
        at += 1
      } else {
        while true {
          guard value(depth: depth + 1) else { return false }
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
      close(index, count)
      return true
    }

    private mutating func object(depth: Int) -> Bool {
      let index = tokens.count
      push(.object, at, at)
      at += 1
      skipSpace()
      var count: Int32 = 0
      if here == 0x7d {
        at += 1
      } else {
        while true {
          guard here == 0x22, text(isKey: true) else { return false }
          skipSpace()
          guard here == 0x3a else { return false }
          at += 1
          skipSpace()
          guard value(depth: depth + 1) else { return false }
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
      close(index, count)
      return true
    }

    /// An object with one key, whose value follows.
    mutating func open(keyFrom start: Int, to end: Int) {
      push(.object, 0, 0)
      push(.text, start, end)
    }

    mutating func close(_ index: Int, _ count: Int32) {
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

  final func text(_ token: Token) -> String {
    let slice = slice(token)
    guard token.kind == .escaped else { return String(decoding: slice, as: UTF8.self) }
    var out: [UInt8] = []
    out.reserveCapacity(slice.count)
    var at = 0
    while at < slice.count {
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
        let code = JSONTape.hex(slice[(at + 2)..<(at + 6)]).flatMap(Unicode.Scalar.init) ?? "\u{fffd}"
        out.append(contentsOf: String(Character(code)).utf8)
        at += 4
      case let byte: out.append(byte)
      }
      at += 2
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// Nil for what needs a second look: too many digits, or minus zero.
  final func integer(_ token: Token) -> Int64? {
    let digits = slice(token)
    let isNegative = digits[0] == 0x2d
    var at = isNegative ? 1 : 0
    guard digits.count - at <= 18, !(isNegative && digits[at] == 0x30) else { return nil }
    var value: Int64 = 0
    while at < digits.count {
      value = value * 10 + Int64(digits[at] - 0x30)
      at += 1
    }
    return isNegative ? -value : value
  }

  /// The nearest one; nil for what needs a second look.
  final func double(_ token: Token) -> Double? {
    if token.kind == .integer, token.end - token.start <= 15 { return integer(token).map(Double.init) }
    let slice = slice(token)
    if let value = JSONTape.shortDecimal(slice) { return value }
    let text = String(decoding: slice, as: UTF8.self)
    guard let value = Double(text), value.isFinite else { return nil }
    // Nearly nothing, which is rounded or refused.
    if !value.isNormal, text.utf8.contains(where: { $0 >= 0x31 && $0 <= 0x39 }) { return nil }
    return value
  }

  /// A decimal of at most fifteen digits without an exponent: both parts of the fraction are exact doubles, so their quotient,
  /// which is rounded once, is the nearest one (Clinger, "How to Read Floating Point Numbers Accurately", 1990).
  private static func shortDecimal(_ text: UnsafeBufferPointer<UInt8>) -> Double? {
    guard text.count <= 17 else { return nil }
    var digits: Int64 = 0
    var (count, decimals) = (0, 0)
    var isFraction = false
    for byte in text.dropFirst(text[0] == 0x2d ? 1 : 0) {
      if byte == 0x2e {
        isFraction = true
        continue
      }
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      digits = digits * 10 + Int64(byte - 0x30)
      count += 1
      if isFraction { decimals += 1 }
    }
    guard count <= 15 else { return nil }
    var power = 1.0
    for _ in 0..<decimals { power *= 10 }
    let value = Double(digits) / power
    return text[0] == 0x2d ? -value : value
  }

  final func isKey(_ token: Token, _ key: UnsafeBufferPointer<UInt8>) -> Bool {
    let count = Int(token.end - token.start)
    guard key.count == count, let a = bytes.baseAddress else { return false }
    guard count > 0, let b = key.baseAddress else { return true }
    return memcmp(a + Int(token.start), b, count) == 0
  }

  final func areEqual(_ a: Token, _ b: Token) -> Bool { a.end - a.start == b.end - b.start && isKey(a, slice(b)) }
}
