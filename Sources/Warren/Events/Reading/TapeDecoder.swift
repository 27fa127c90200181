#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Decodes the JSON that events nearly always are, three times as fast as Foundation's decoder, and to the same values.
///
/// It says nothing but "this is the value" or "look for yourself": whenever anything fails, or is unusual, Foundation's decoder
/// begins anew, and its value or its error counts. So no error is worded here, and no corner of JSON is decided.
enum TapeDecoder {
  static func decode<T: Decodable>(_ type: T.Type, _ body: Data) -> T? {
    guard let tape = JSONTape(Array(body)) else { return nil }
    let reading = TapeReading(tape)
    guard let value = try? TapeValue(reading: reading, index: 0, codingPath: []).unbox(T.self), !reading.isDoubtful
    else {
      return nil
    }
    return value
  }
}

/// A pass over one tape. Types may catch errors and go on; what was doubtful on the way stays so.
private final class TapeReading {
  let tape: JSONTape
  var isDoubtful = false
  init(_ tape: JSONTape) { self.tape = tape }

  /// For what Foundation may see in another way.
  func doubt() -> any Error {
    isDoubtful = true
    return Doubt()
  }
}

private struct Doubt: Error {}

private struct TapeKey: CodingKey {
  var stringValue: String
  var intValue: Int?
  init(stringValue: String) { self.stringValue = stringValue }
  init(intValue: Int) {
    stringValue = "Index \(intValue)"
    self.intValue = intValue
  }
}

private struct TapeValue: Decoder, SingleValueDecodingContainer {
  let reading: TapeReading
  let index: Int
  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  private var token: JSONTape.Token { reading.tape.tokens[index] }

  private func mismatch(_ type: Any.Type) -> DecodingError {
    token.kind == .null
      ? .valueNotFound(type, .init(codingPath: codingPath, debugDescription: "null"))
      : .typeMismatch(type, .init(codingPath: codingPath, debugDescription: "another kind"))
  }

  // MARK: Values

  func unbox<T: Decodable>(_ type: T.Type) throws -> T {
    if T.self == Date.self {
      guard let date = Date(rfc3339: try decode(String.self)) as? T else { throw reading.doubt() }
      return date
    }
    if T.self == Data.self {
      guard let data = Data(base64Encoded: try decode(String.self)) as? T else { throw reading.doubt() }
      return data
    }
    if T.self == URL.self {
      guard let url = URL(string: try decode(String.self)) as? T else { throw reading.doubt() }
      return url
    }
    if T.self == Decimal.self { throw reading.doubt() }
    return try T(from: self)
  }

  func decodeNil() -> Bool { token.kind == .null }

  func decode(_ type: Bool.Type) throws -> Bool {
    switch token.kind {
    case .yes: return true
    case .no: return false
    default: throw mismatch(type)
    }
  }

  func decode(_ type: String.Type) throws -> String {
    guard token.kind == .text || token.kind == .escaped else { throw mismatch(type) }
    return reading.tape.text(token)
  }

  func decode(_ type: Double.Type) throws -> Double {
    guard token.kind == .integer || token.kind == .number else { throw mismatch(type) }
    guard let value = reading.tape.double(token) else { throw reading.doubt() }
    return value
  }

  func decode(_ type: Float.Type) throws -> Float {
    guard token.kind == .integer || token.kind == .number else { throw mismatch(type) }
    throw reading.doubt()
  }

  private func integer<I: FixedWidthInteger>(_ type: I.Type) throws -> I {
    // 1.0 and 1e3 may be integers.
    if token.kind == .number { throw reading.doubt() }
    guard token.kind == .integer else { throw mismatch(type) }
    guard let value = reading.tape.integer(token), let exact = I(exactly: value) else { throw reading.doubt() }
    return exact
  }

  func decode(_ type: Int.Type) throws -> Int { try integer(type) }
  func decode(_ type: Int8.Type) throws -> Int8 { try integer(type) }
  func decode(_ type: Int16.Type) throws -> Int16 { try integer(type) }
  func decode(_ type: Int32.Type) throws -> Int32 { try integer(type) }
  func decode(_ type: Int64.Type) throws -> Int64 { try integer(type) }
  func decode(_ type: UInt.Type) throws -> UInt { try integer(type) }
  func decode(_ type: UInt8.Type) throws -> UInt8 { try integer(type) }
  func decode(_ type: UInt16.Type) throws -> UInt16 { try integer(type) }
  func decode(_ type: UInt32.Type) throws -> UInt32 { try integer(type) }
  func decode(_ type: UInt64.Type) throws -> UInt64 { try integer(type) }
  func decode<T: Decodable>(_ type: T.Type) throws -> T { try unbox(type) }

  // MARK: Containers

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(try TapeObject<Key>(reading, index, codingPath))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { try TapeArray(reading, index, codingPath) }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }
}

private struct TapeObject<Key: CodingKey>: KeyedDecodingContainerProtocol {
  /// More would make looking for keys slow.
  private static var mostKeys: Int { 48 }
  let reading: TapeReading
  let codingPath: [any CodingKey]
  private let index: Int
  private let count: Int

  init(_ reading: TapeReading, _ index: Int, _ codingPath: [any CodingKey]) throws {
    let token = reading.tape.tokens[index]
    guard token.kind == .object else {
      throw DecodingError.typeMismatch(
        [String: Any].self, .init(codingPath: codingPath, debugDescription: "another kind"))
    }
    self.reading = reading
    self.index = index
    self.codingPath = codingPath
    count = Int(token.count)
    // Which of two equal keys counts is not decided here.
    guard count <= Self.mostKeys, !hasRepeats else { throw reading.doubt() }
  }

  private var hasRepeats: Bool {
    let tape = reading.tape
    var at = index + 1
    for _ in 0..<count {
      let key = tape.tokens[at]
      var other = Int(tape.tokens[at + 1].next)
      while other < Int(tape.tokens[index].next) {
        let candidate = tape.tokens[other]
        if candidate.end - candidate.start == key.end - key.start,
          tape.bytes[Int(candidate.start)..<Int(candidate.end)] == tape.bytes[Int(key.start)..<Int(key.end)]
        {
          return true
        }
        other = Int(tape.tokens[other + 1].next)
      }
      at = Int(tape.tokens[at + 1].next)
    }
    return false
  }

  /// The token of a key's value.
  private func find(_ key: Key) -> Int? {
    var name = key.stringValue
    var at = index + 1
    for _ in 0..<count {
      if reading.tape.isKey(reading.tape.tokens[at], &name) { return at + 1 }
      at = Int(reading.tape.tokens[at + 1].next)
    }
    return nil
  }

  private func value(_ key: Key) throws -> TapeValue {
    guard let index = find(key) else {
      throw DecodingError.keyNotFound(key, .init(codingPath: codingPath, debugDescription: "missing"))
    }
    return TapeValue(reading: reading, index: index, codingPath: [])
  }

  private func nested(_ key: Key) throws -> TapeValue {
    TapeValue(reading: reading, index: try value(key).index, codingPath: codingPath + [key])
  }

  var allKeys: [Key] {
    var keys: [Key] = []
    var at = index + 1
    for _ in 0..<count {
      if let key = Key(stringValue: reading.tape.text(reading.tape.tokens[at])) { keys.append(key) }
      at = Int(reading.tape.tokens[at + 1].next)
    }
    return keys
  }

  func contains(_ key: Key) -> Bool { find(key) != nil }
  func decodeNil(forKey key: Key) throws -> Bool { try value(key).decodeNil() }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try value(key).decode(type) }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try value(key).decode(type) }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try value(key).decode(type) }
  func decode(_ type: Float.Type, forKey key: Key) throws -> Float { try value(key).decode(type) }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try value(key).decode(type) }
  func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try value(key).decode(type) }
  func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try value(key).decode(type) }
  func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try value(key).decode(type) }
  func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try value(key).decode(type) }
  func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try value(key).decode(type) }
  func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try value(key).decode(type) }
  func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try value(key).decode(type) }
  func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try value(key).decode(type) }
  func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try value(key).decode(type) }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { try nested(key).unbox(type) }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> {
    try nested(key).container(keyedBy: type)
  }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try nested(key).unkeyedContainer()
  }
  func superDecoder() throws -> any Decoder { throw reading.doubt() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw reading.doubt() }
}

private struct TapeArray: UnkeyedDecodingContainer {
  let reading: TapeReading
  let codingPath: [any CodingKey]
  private let total: Int
  private var next: Int
  private(set) var currentIndex = 0

  init(_ reading: TapeReading, _ index: Int, _ codingPath: [any CodingKey]) throws {
    let token = reading.tape.tokens[index]
    guard token.kind == .array else {
      throw DecodingError.typeMismatch([Any].self, .init(codingPath: codingPath, debugDescription: "another kind"))
    }
    self.reading = reading
    self.codingPath = codingPath
    total = Int(token.count)
    next = index + 1
  }

  var count: Int? { total }
  var isAtEnd: Bool { currentIndex >= total }

  private func value(_ type: Any.Type) throws -> TapeValue {
    guard !isAtEnd else {
      throw DecodingError.valueNotFound(type, .init(codingPath: codingPath, debugDescription: "the array has ended"))
    }
    return TapeValue(reading: reading, index: next, codingPath: [])
  }

  private func nested(_ type: Any.Type) throws -> TapeValue {
    TapeValue(
      reading: reading, index: try value(type).index, codingPath: codingPath + [TapeKey(intValue: currentIndex)])
  }

  private mutating func advance() {
    next = Int(reading.tape.tokens[next].next)
    currentIndex += 1
  }

  /// The place moves only when the value was read.
  private mutating func take<T>(_ type: T.Type, _ read: (TapeValue) throws -> T) throws -> T {
    let result = try read(try value(type))
    advance()
    return result
  }

  mutating func decodeNil() throws -> Bool {
    guard try value(Never.self).decodeNil() else { return false }
    advance()
    return true
  }
  mutating func decode(_ type: Bool.Type) throws -> Bool { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: String.Type) throws -> String { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Double.Type) throws -> Double { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Float.Type) throws -> Float { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Int.Type) throws -> Int { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Int8.Type) throws -> Int8 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Int16.Type) throws -> Int16 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Int32.Type) throws -> Int32 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: Int64.Type) throws -> Int64 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: UInt.Type) throws -> UInt { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: UInt8.Type) throws -> UInt8 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: UInt16.Type) throws -> UInt16 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: UInt32.Type) throws -> UInt32 { try take(type) { try $0.decode(type) } }
  mutating func decode(_ type: UInt64.Type) throws -> UInt64 { try take(type) { try $0.decode(type) } }

  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
    let result = try nested(type).unbox(type)
    advance()
    return result
  }

  mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
    let container = try nested([String: Any].self).container(keyedBy: type)
    advance()
    return container
  }
  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    let container = try nested([Any].self).unkeyedContainer()
    advance()
    return container
  }
  mutating func superDecoder() throws -> any Decoder { throw reading.doubt() }
}
