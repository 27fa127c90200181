#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Encodes the values that events nearly always are, three to four times as fast as Foundation's encoder, and to the
/// same bytes.
///
/// It says nothing but "these are the bytes" or "look for yourself": whenever anything fails, or is unusual, Foundation's
/// encoder begins anew, and its bytes or its error count. So no error is worded here, and no corner of JSON is decided.
struct TextEncoder: Encoder {
  private let writing: TextWriting
  private let id: Int

  init(_ writing: TextWriting, _ id: Int) {
    self.writing = writing
    self.id = id
  }

  static func encode(_ value: some Encodable) -> Data? { TextWriting().write(value) }

  var codingPath: [any CodingKey] { writing.path(of: id) }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    KeyedEncodingContainer(TextObject<Key>(writing, writing.object(in: id)))
  }
  func unkeyedContainer() -> any UnkeyedEncodingContainer { TextArray(writing, writing.array(in: id)) }
  func singleValueContainer() -> any SingleValueEncodingContainer { TextSingle(writing, id) }
}

extension TextWriting {
  /// A super encoder's value is set when the encoder is let go; that moment is not looked for here.
  fileprivate func superEncoder() -> any Encoder {
    _ = doubt()
    return TextEncoder(self, Self.nobody)
  }
}

private struct TextObject<Key: CodingKey>: KeyedEncodingContainerProtocol {
  private let writing: TextWriting
  private let id: Int

  init(_ writing: TextWriting, _ id: Int) {
    self.writing = writing
    self.id = id
  }

  var codingPath: [any CodingKey] { writing.path(of: id) }

  private func put(_ key: Key, _ write: (inout JSONText) -> Void) throws {
    try writing.member(key.stringValue, in: id)
    write(&writing.text)
  }

  func encodeNil(forKey key: Key) throws { try put(key) { $0.word("null") } }
  func encode(_ value: Bool, forKey key: Key) throws { try put(key) { $0.bool(value) } }
  func encode(_ value: String, forKey key: Key) throws { try put(key) { $0.string(value) } }
  func encode(_ value: Double, forKey key: Key) throws {
    try writing.member(key.stringValue, in: id)
    guard writing.text.number(value) else { throw writing.doubt() }
  }
  func encode(_ value: Float, forKey key: Key) throws {
    try writing.member(key.stringValue, in: id)
    guard writing.text.number(value) else { throw writing.doubt() }
  }
  func encode(_ value: Int, forKey key: Key) throws { try put(key) { $0.integer(Int64(value)) } }
  func encode(_ value: Int8, forKey key: Key) throws { try put(key) { $0.integer(Int64(value)) } }
  func encode(_ value: Int16, forKey key: Key) throws { try put(key) { $0.integer(Int64(value)) } }
  func encode(_ value: Int32, forKey key: Key) throws { try put(key) { $0.integer(Int64(value)) } }
  func encode(_ value: Int64, forKey key: Key) throws { try put(key) { $0.integer(value) } }
  func encode(_ value: Int128, forKey key: Key) throws { throw writing.doubt() }
  func encode(_ value: UInt, forKey key: Key) throws { try put(key) { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt8, forKey key: Key) throws { try put(key) { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt16, forKey key: Key) throws { try put(key) { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt32, forKey key: Key) throws { try put(key) { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt64, forKey key: Key) throws { try put(key) { $0.integer(value) } }
  func encode(_ value: UInt128, forKey key: Key) throws { throw writing.doubt() }
  func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
    try writing.member(key.stringValue, in: id)
    try writing.value(value)
  }

  private func nested(_ key: Key, _ open: () throws -> Int) -> Int {
    do {
      try writing.member(key.stringValue, in: id)
      return try open()
    } catch {
      return TextWriting.nobody
    }
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) -> KeyedEncodingContainer<Nested> {
    KeyedEncodingContainer(TextObject<Nested>(writing, nested(key) { try writing.nestedObject() }))
  }
  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    TextArray(writing, nested(key) { try writing.nestedArray() })
  }
  func superEncoder() -> any Encoder { writing.superEncoder() }
  func superEncoder(forKey key: Key) -> any Encoder { writing.superEncoder() }
}

private struct TextArray: UnkeyedEncodingContainer {
  private let writing: TextWriting
  private let id: Int
  /// For those who count until they have enough, where nothing is written any more.
  private var tries = 0

  init(_ writing: TextWriting, _ id: Int) {
    self.writing = writing
    self.id = id
  }

  var codingPath: [any CodingKey] { writing.path(of: id) }
  var count: Int { writing.count(in: id) ?? tries }

  private mutating func next() throws {
    tries += 1
    try writing.element(in: id)
  }

  private mutating func put(_ write: (inout JSONText) -> Void) throws {
    try next()
    write(&writing.text)
  }

  mutating func encodeNil() throws { try put { $0.word("null") } }
  mutating func encode(_ value: Bool) throws { try put { $0.bool(value) } }
  mutating func encode(_ value: String) throws { try put { $0.string(value) } }
  mutating func encode(_ value: Double) throws {
    try next()
    guard writing.text.number(value) else { throw writing.doubt() }
  }
  mutating func encode(_ value: Float) throws {
    try next()
    guard writing.text.number(value) else { throw writing.doubt() }
  }
  mutating func encode(_ value: Int) throws { try put { $0.integer(Int64(value)) } }
  mutating func encode(_ value: Int8) throws { try put { $0.integer(Int64(value)) } }
  mutating func encode(_ value: Int16) throws { try put { $0.integer(Int64(value)) } }
  mutating func encode(_ value: Int32) throws { try put { $0.integer(Int64(value)) } }
  mutating func encode(_ value: Int64) throws { try put { $0.integer(value) } }
  mutating func encode(_ value: Int128) throws {
    tries += 1
    throw writing.doubt()
  }
  mutating func encode(_ value: UInt) throws { try put { $0.integer(UInt64(value)) } }
  mutating func encode(_ value: UInt8) throws { try put { $0.integer(UInt64(value)) } }
  mutating func encode(_ value: UInt16) throws { try put { $0.integer(UInt64(value)) } }
  mutating func encode(_ value: UInt32) throws { try put { $0.integer(UInt64(value)) } }
  mutating func encode(_ value: UInt64) throws { try put { $0.integer(value) } }
  mutating func encode(_ value: UInt128) throws {
    tries += 1
    throw writing.doubt()
  }
  mutating func encode<T: Encodable>(_ value: T) throws {
    try next()
    try writing.value(value)
  }

  private mutating func nested(_ open: () throws -> Int) -> Int {
    do {
      try next()
      return try open()
    } catch {
      return TextWriting.nobody
    }
  }

  mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
    let writing = writing
    return KeyedEncodingContainer(TextObject<Nested>(writing, nested { try writing.nestedObject() }))
  }
  mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
    let writing = writing
    return TextArray(writing, nested { try writing.nestedArray() })
  }
  mutating func superEncoder() -> any Encoder {
    tries += 1
    return writing.superEncoder()
  }
}

private struct TextSingle: SingleValueEncodingContainer {
  private let writing: TextWriting
  private let id: Int

  init(_ writing: TextWriting, _ id: Int) {
    self.writing = writing
    self.id = id
  }

  var codingPath: [any CodingKey] { writing.path(of: id) }

  private func put(_ write: (inout JSONText) -> Void) throws {
    try writing.beginSingle(id)
    write(&writing.text)
  }

  func encodeNil() throws { try put { $0.word("null") } }
  func encode(_ value: Bool) throws { try put { $0.bool(value) } }
  func encode(_ value: String) throws { try put { $0.string(value) } }
  func encode(_ value: Double) throws {
    try writing.beginSingle(id)
    guard writing.text.number(value) else { throw writing.doubt() }
  }
  func encode(_ value: Float) throws {
    try writing.beginSingle(id)
    guard writing.text.number(value) else { throw writing.doubt() }
  }
  func encode(_ value: Int) throws { try put { $0.integer(Int64(value)) } }
  func encode(_ value: Int8) throws { try put { $0.integer(Int64(value)) } }
  func encode(_ value: Int16) throws { try put { $0.integer(Int64(value)) } }
  func encode(_ value: Int32) throws { try put { $0.integer(Int64(value)) } }
  func encode(_ value: Int64) throws { try put { $0.integer(value) } }
  func encode(_ value: Int128) throws { throw writing.doubt() }
  func encode(_ value: UInt) throws { try put { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt8) throws { try put { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt16) throws { try put { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt32) throws { try put { $0.integer(UInt64(value)) } }
  func encode(_ value: UInt64) throws { try put { $0.integer(value) } }
  func encode(_ value: UInt128) throws { throw writing.doubt() }
  func encode<T: Encodable>(_ value: T) throws { try writing.single(value, in: id) }
}
