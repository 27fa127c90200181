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
  /// - Throws: anything, where Foundation's decoder is to be asked.
  static func decode<T: Decodable>(_ type: T.Type, _ body: Data, in keys: [String] = []) throws -> T {
    let reading = body.withUnsafeBytes { TapeReading($0.bindMemory(to: UInt8.self), in: keys) }
    guard let reading else { throw Doubt() }
    let value = try TapeValue(reading: reading, index: 0).unbox(type)
    if reading.isDoubtful { throw Doubt() }
    return value
  }
}

/// A pass over one tape. Types may catch errors and go on; what was doubtful on the way stays so.
private final class TapeReading: JSONTape {
  private(set) var isDoubtful = false

  /// For what Foundation may see in another way.
  func doubt() -> DecodingError {
    isDoubtful = true
    // Of the kind that types expect which catch errors.
    return .dataCorrupted(.init(codingPath: [], debugDescription: "to be looked at by Foundation"))
  }

  func mismatch(_ type: Any.Type, at index: Int) -> DecodingError {
    let context = DecodingError.Context(codingPath: path(to: index), debugDescription: "another kind")
    return self[index].kind == .null ? .valueNotFound(type, context) : .typeMismatch(type, context)
  }

  /// One level of the path that was asked for last: the value `child` is the one with this number in `parent`.
  private struct Step {
    var parent: Int
    var child: Int
    var number: Int
  }
  // Types that try one thing and then another ask for the path of each element of an array: who began at the first one each
  // time would be at it for as long as the square of their number.
  private var steps: [Step] = []

  /// Where a value stands. Found when somebody asks: to carry it along costs as much as the values.
  func path(to index: Int) -> [any CodingKey] {
    var path: [any CodingKey] = []
    var at = 0
    while at != index {
      let token = self[at]
      // Objects that are read are small, and their keys stand between their values.
      let isObject = token.kind == .object
      var step = Step(parent: at, child: at + (isObject ? 2 : 1), number: 0)
      if path.count < steps.count, steps[path.count].parent == at, steps[path.count].child <= index {
        step = steps[path.count]
      }
      while step.number < token.count, behind(step.child) <= index {
        step.child = behind(step.child) + (isObject ? 1 : 0)
        step.number += 1
      }
      guard step.number < token.count, step.child <= index else { break }
      // What is kept for deeper levels stays true, and says where.
      if path.count < steps.count { steps[path.count] = step } else { steps.append(step) }
      path.append(isObject ? TapeKey(stringValue: text(self[step.child - 1])) : TapeKey(intValue: step.number))
      at = step.child
    }
    return path
  }

  /// For those who ask: the keys that Foundation puts into a path are the type's own.
  func askedPath(to index: Int) -> [any CodingKey] {
    _ = doubt()
    return path(to: index)
  }

  // MARK: Values

  func isNull(_ index: Int) -> Bool { self[index].kind == .null }

  func bool(_ index: Int) throws -> Bool {
    switch self[index].kind {
    case .yes: return true
    case .no: return false
    // Not found, or of another type: versions of Foundation do not agree.
    case .null: throw doubt()
    default: throw mismatch(Bool.self, at: index)
    }
  }

  func string(_ index: Int) throws -> String {
    let token = self[index]
    guard token.kind == .text || token.kind == .escaped else { throw mismatch(String.self, at: index) }
    return text(token)
  }

  func double(_ index: Int) throws -> Double {
    let token = self[index]
    guard token.kind == .integer || token.kind == .number else { throw mismatch(Double.self, at: index) }
    guard let value = double(token) else { throw doubt() }
    return value
  }

  func float(_ index: Int) throws -> Float {
    let kind = self[index].kind
    guard kind == .integer || kind == .number else { throw mismatch(Float.self, at: index) }
    throw doubt()
  }

  func integer<I: FixedWidthInteger>(_ type: I.Type, _ index: Int) throws -> I {
    let token = self[index]
    // 1.0 and 1e3 may be integers.
    if token.kind == .number { throw doubt() }
    guard token.kind == .integer else { throw mismatch(type, at: index) }
    guard let value = integer(token), let exact = I(exactly: value) else { throw doubt() }
    return exact
  }

  func unbox<T: Decodable>(_ type: T.Type, _ index: Int) throws -> T {
    // Of the same type, as was just seen: a cast would look for that in the metadata, which costs more than the value.
    if T.self == Date.self { return unsafeBitCast(try date(index), to: T.self) }
    if T.self == Data.self {
      guard let data = Data(base64Encoded: try string(index)) else { throw doubt() }
      return unsafeBitCast(data, to: T.self)
    }
    if T.self == URL.self {
      guard let url = URL(string: try string(index)) else { throw doubt() }
      return unsafeBitCast(url, to: T.self)
    }
    if T.self == Decimal.self { throw doubt() }
    return try T(from: TapeValue(reading: self, index: index))
  }

  private func date(_ index: Int) throws -> Date {
    let token = self[index]
    let date = token.kind == .text ? Date(rfc3339: slice(token)) : Date(rfc3339: try string(index))
    guard let date else { throw doubt() }
    return date
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
  var codingPath: [any CodingKey] { reading.askedPath(to: index) }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func unbox<T: Decodable>(_ type: T.Type) throws -> T { try reading.unbox(type, index) }

  func decodeNil() -> Bool { reading.isNull(index) }
  func decode(_ type: Bool.Type) throws -> Bool { try reading.bool(index) }
  func decode(_ type: String.Type) throws -> String { try reading.string(index) }
  func decode(_ type: Double.Type) throws -> Double { try reading.double(index) }
  func decode(_ type: Float.Type) throws -> Float { try reading.float(index) }
  func decode(_ type: Int.Type) throws -> Int { try reading.integer(type, index) }
  func decode(_ type: Int8.Type) throws -> Int8 { try reading.integer(type, index) }
  func decode(_ type: Int16.Type) throws -> Int16 { try reading.integer(type, index) }
  func decode(_ type: Int32.Type) throws -> Int32 { try reading.integer(type, index) }
  func decode(_ type: Int64.Type) throws -> Int64 { try reading.integer(type, index) }
  func decode(_ type: UInt.Type) throws -> UInt { try reading.integer(type, index) }
  func decode(_ type: UInt8.Type) throws -> UInt8 { try reading.integer(type, index) }
  func decode(_ type: UInt16.Type) throws -> UInt16 { try reading.integer(type, index) }
  func decode(_ type: UInt32.Type) throws -> UInt32 { try reading.integer(type, index) }
  func decode(_ type: UInt64.Type) throws -> UInt64 { try reading.integer(type, index) }
  func decode(_ type: Int128.Type) throws -> Int128 { throw reading.doubt() }
  func decode(_ type: UInt128.Type) throws -> UInt128 { throw reading.doubt() }
  func decode<T: Decodable>(_ type: T.Type) throws -> T { try unbox(type) }

  // MARK: Containers

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(TapeObject<Key>(fields: try TapeFields(reading, index)))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { try TapeArray(reading, index) }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }
}

/// The keys of an object. Nothing in here depends on the type of the keys, or its code would be looked up for each of them.
private struct TapeFields {
  /// More would make looking for keys slow.
  private static let most = 48
  let reading: TapeReading
  let index: Int
  private let count: Int

  init(_ reading: TapeReading, _ index: Int) throws {
    let token = reading[index]
    guard token.kind == .object else { throw reading.mismatch([String: Any].self, at: index) }
    self.reading = reading
    self.index = index
    count = Int(token.count)
    // Which of two equal keys counts is not decided here.
    guard count <= Self.most, !hasRepeats else { throw reading.doubt() }
  }

  private var hasRepeats: Bool {
    var at = index + 1
    let end = reading.behind(index)
    for _ in 0..<count {
      let key = reading[at]
      let next = reading.behind(at + 1)
      var other = next
      while other < end {
        if reading.areEqual(reading[other], key) { return true }
        other = reading.behind(other + 1)
      }
      at = next
    }
    return false
  }

  /// The token of a key's value.
  func find(_ name: String) -> Int? {
    var name = name
    return name.withUTF8 { name in
      var at = index + 1
      for _ in 0..<count {
        if reading.isKey(reading[at], name) { return at + 1 }
        at = reading.behind(at + 1)
      }
      // To `String` it may be equal to one in ASCII, as the sign for Kelvin is to K.
      if !name.allSatisfy({ $0 < 0x80 }) { _ = reading.doubt() }
      return nil
    }
  }

  var names: [String] {
    var names: [String] = []
    var at = index + 1
    for _ in 0..<count {
      names.append(reading.text(reading[at]))
      at = reading.behind(at + 1)
    }
    return names
  }
}

private struct TapeObject<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let fields: TapeFields
  private var reading: TapeReading { fields.reading }
  var codingPath: [any CodingKey] { reading.askedPath(to: fields.index) }

  private func value(_ key: Key) throws -> Int {
    guard let index = fields.find(key.stringValue) else {
      throw DecodingError.keyNotFound(
        key, .init(codingPath: reading.path(to: fields.index), debugDescription: "missing"))
    }
    return index
  }

  /// Nil where the key is missing, or null stands there.
  private func present(_ key: Key) -> Int? { fields.find(key.stringValue).flatMap { reading.isNull($0) ? nil : $0 } }

  private func nested(_ key: Key) throws -> TapeValue { TapeValue(reading: reading, index: try value(key)) }

  var allKeys: [Key] { fields.names.compactMap { Key(stringValue: $0) } }
  func contains(_ key: Key) -> Bool { fields.find(key.stringValue) != nil }
  func decodeNil(forKey key: Key) throws -> Bool { reading.isNull(try value(key)) }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try reading.bool(value(key)) }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try reading.string(value(key)) }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try reading.double(value(key)) }
  func decode(_ type: Float.Type, forKey key: Key) throws -> Float { try reading.float(value(key)) }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try reading.integer(type, value(key)) }
  func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try reading.integer(type, value(key)) }
  func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try reading.integer(type, value(key)) }
  func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try reading.integer(type, value(key)) }
  func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try reading.integer(type, value(key)) }
  func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try reading.integer(type, value(key)) }
  func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try reading.integer(type, value(key)) }
  func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try reading.integer(type, value(key)) }
  func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try reading.integer(type, value(key)) }
  func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try reading.integer(type, value(key)) }
  func decode(_ type: Int128.Type, forKey key: Key) throws -> Int128 { throw reading.doubt() }
  func decode(_ type: UInt128.Type, forKey key: Key) throws -> UInt128 { throw reading.doubt() }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { try reading.unbox(type, value(key)) }

  // The usual ones: by themselves they look for the key three times.
  func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? { try present(key).map(reading.bool) }
  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? { try present(key).map(reading.string) }
  func decodeIfPresent(_ type: Double.Type, forKey key: Key) throws -> Double? { try present(key).map(reading.double) }
  func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? {
    try present(key).map { try reading.integer(type, $0) }
  }
  func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? {
    try present(key).map { try reading.unbox(type, $0) }
  }

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
  private let index: Int
  private let total: Int
  private var next: Int
  private(set) var currentIndex = 0
  var codingPath: [any CodingKey] { reading.askedPath(to: index) }

  init(_ reading: TapeReading, _ index: Int) throws {
    let token = reading[index]
    guard token.kind == .array else { throw reading.mismatch([Any].self, at: index) }
    self.reading = reading
    self.index = index
    total = Int(token.count)
    next = index + 1
  }

  var count: Int? { total }
  var isAtEnd: Bool { currentIndex >= total }

  private func value() throws -> TapeValue {
    guard !isAtEnd else { throw reading.doubt() }
    return TapeValue(reading: reading, index: next)
  }

  private mutating func advance() {
    next = reading.behind(next)
    currentIndex += 1
  }

  /// The place moves only when the value was read.
  private mutating func take<T>(_ read: (TapeValue) throws -> T) throws -> T {
    let result = try read(try value())
    advance()
    return result
  }

  mutating func decodeNil() throws -> Bool {
    guard try value().decodeNil() else { return false }
    advance()
    return true
  }
  mutating func decode(_ type: Bool.Type) throws -> Bool { try take { try $0.decode(type) } }
  mutating func decode(_ type: String.Type) throws -> String { try take { try $0.decode(type) } }
  mutating func decode(_ type: Double.Type) throws -> Double { try take { try $0.decode(type) } }
  mutating func decode(_ type: Float.Type) throws -> Float { try take { try $0.decode(type) } }
  mutating func decode(_ type: Int.Type) throws -> Int { try take { try $0.decode(type) } }
  mutating func decode(_ type: Int8.Type) throws -> Int8 { try take { try $0.decode(type) } }
  mutating func decode(_ type: Int16.Type) throws -> Int16 { try take { try $0.decode(type) } }
  mutating func decode(_ type: Int32.Type) throws -> Int32 { try take { try $0.decode(type) } }
  mutating func decode(_ type: Int64.Type) throws -> Int64 { try take { try $0.decode(type) } }
  mutating func decode(_ type: UInt.Type) throws -> UInt { try take { try $0.decode(type) } }
  mutating func decode(_ type: UInt8.Type) throws -> UInt8 { try take { try $0.decode(type) } }
  mutating func decode(_ type: UInt16.Type) throws -> UInt16 { try take { try $0.decode(type) } }
  mutating func decode(_ type: UInt32.Type) throws -> UInt32 { try take { try $0.decode(type) } }
  mutating func decode(_ type: UInt64.Type) throws -> UInt64 { try take { try $0.decode(type) } }
  mutating func decode(_ type: Int128.Type) throws -> Int128 { throw reading.doubt() }
  mutating func decode(_ type: UInt128.Type) throws -> UInt128 { throw reading.doubt() }

  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
    let result = try value().unbox(type)
    advance()
    return result
  }

  mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
    let container = try value().container(keyedBy: type)
    advance()
    return container
  }
  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    let container = try value().unkeyedContainer()
    advance()
    return container
  }
  mutating func superDecoder() throws -> any Decoder { throw reading.doubt() }
}
