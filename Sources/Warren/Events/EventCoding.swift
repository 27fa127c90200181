#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// How the values of one event type become bytes and come back.
///
/// The default is ``json``. An event type of another system brings its own:
///
/// ```swift
/// static let coding = EventCoding<Invoice>.json(encoder: snakeCaseEncoder, decoder: snakeCaseDecoder)
/// ```
public struct EventCoding<Value: Codable & Sendable>: Sendable {
  /// Turns a value into a message body.
  public var encode: @Sendable (Value) throws -> Data {
    guard let own else { return { try WarrenJSON.encode($0) } }
    return own.encode
  }
  /// Turns a message body into a value.
  public var decode: @Sendable (Data) throws -> Value {
    guard let own else { return { try WarrenJSON.decode($0) } }
    return own.decode
  }
  /// False for a coding of your own: it is given bodies whatever content type they say they are.
  package let isJSON: Bool
  // Nil for Warren's JSON, so that the usual coding is made of nothing: it is asked for with each event.
  private let own: Functions?

  // A class, so that a coding has the same layout for all events, and no metadata is looked up for it.
  private final class Functions: Sendable {
    let encode: @Sendable (Value) throws -> Data
    let decode: @Sendable (Data) throws -> Value
    init(encode: @escaping @Sendable (Value) throws -> Data, decode: @escaping @Sendable (Data) throws -> Value) {
      self.encode = encode
      self.decode = decode
    }
  }

  /// A coding of your own. The two functions run on the tasks of callers, many at once.
  public init(
    encode: @escaping @Sendable (Value) throws -> Data, decode: @escaping @Sendable (Data) throws -> Value
  ) {
    self.init(isJSON: false, Functions(encode: encode, decode: decode))
  }

  private init(isJSON: Bool, _ own: Functions?) {
    self.isJSON = isJSON
    self.own = own
  }

  /// Nobody has brought coders of their own.
  var isWarrenJSON: Bool { own == nil }

  func body(of value: Value) throws -> Data {
    guard let own else { return try WarrenJSON.encode(value) }
    return try own.encode(value)
  }
  func value(in body: Data) throws -> Value {
    guard let own else { return try WarrenJSON.decode(body) }
    return try own.decode(body)
  }

  /// Warren's JSON: keys sorted (so that equal events are equal bytes), dates as ISO 8601 in UTC with milliseconds,
  /// data as base64, `/` not escaped; NaN, infinity and dates outside the years 0 to 9999 refused. Fixed: it changes only with a major version.
  public static var json: EventCoding {
    EventCoding(isJSON: true, nil)
  }

  /// JSON with coders of your own. They must not be changed afterwards.
  public static func json(encoder: JSONEncoder, decoder: JSONDecoder) -> EventCoding {
    let decode: @Sendable (Data) throws -> Value = {
      try Nesting.check($0)
      return try decoder.decode(Value.self, from: $0)
    }
    return EventCoding(isJSON: true, Functions(encode: { try encoder.encode($0) }, decode: decode))
  }
}

/// The one pair of coders: configured once, then only read, so many tasks may use them at once.
enum WarrenJSON {
  static let encoder: JSONEncoder = {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.dataEncodingStrategy = .base64
    encoder.dateEncodingStrategy = .custom { date, encoder in
      guard date.isRFC3339 else {
        // Not the date itself: Foundation traps when somebody prints NaN as a date.
        throw EncodingError.invalidValue(
          date.timeIntervalSince1970,
          .init(codingPath: encoder.codingPath, debugDescription: "outside the years 0 to 9999"))
      }
      var container = encoder.singleValueContainer()
      try container.encode(date.rfc3339)
    }
    return encoder
  }()

  static let decoder: JSONDecoder = {
    let decoder = JSONDecoder()
    decoder.dataDecodingStrategy = .base64
    decoder.dateDecodingStrategy = .custom { decoder in
      let container = try decoder.singleValueContainer()
      let text = try container.decode(String.self)
      guard let date = Date(rfc3339: text) else {
        throw DecodingError.dataCorruptedError(in: container, debugDescription: "not an ISO 8601 date: \(text)")
      }
      return date
    }
    return decoder
  }()

  static func encode(_ value: some Encodable) throws -> Data {
    try TextEncoder.encode(value) ?? encoder.encode(value)
  }

  static func decode<T: Decodable>(_ body: Data) throws -> T {
    do { return try TapeDecoder.decode(T.self, body) } catch {}
    try Nesting.check(body)
    return try decoder.decode(T.self, from: body)
  }
}
