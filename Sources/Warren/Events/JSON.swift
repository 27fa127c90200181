#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// A JSON value without a Swift type: what an ``Upcaster`` works on.
public enum JSON: Hashable, Sendable {
  case null
  case bool(Bool)
  case int(Int64)
  /// A number with a fraction or more digits than ``int(_:)`` holds, exact to 38 digits.
  case decimal(Decimal)
  /// A number beyond ``decimal(_:)``.
  case double(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  /// The value of a key of an object; nil when there is none, or this is no object. Setting nil removes the key; setting
  /// anything in what is no object makes it one.
  public subscript(key: String) -> JSON? {
    get { if case .object(let members) = self { members[key] } else { nil } }
    set {
      var members: [String: JSON] = [:]
      if case .object(let old) = self { members = old }
      members[key] = newValue
      self = .object(members)
    }
  }

  /// The text, when it is one.
  public var string: String? { if case .string(let text) = self { text } else { nil } }
  /// The number, when it is a whole one.
  public var int: Int64? { if case .int(let number) = self { number } else { nil } }

  /// Gives the value of a key another key.
  public mutating func rename(_ key: String, to new: String) {
    guard let value = self[key] else { return }
    self[key] = nil
    self[new] = value
  }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByNilLiteral, ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral
{
  /// A text.
  public init(stringLiteral value: String) { self = .string(value) }
  /// A whole number.
  public init(integerLiteral value: Int64) { self = .int(value) }
  /// True or false.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  /// Null.
  public init(nilLiteral: ()) { self = .null }
  /// An object; of equal keys the last one counts.
  public init(dictionaryLiteral elements: (String, JSON)...) {
    self = .object(Dictionary(elements) { $1 })
  }
  /// An array.
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
}

extension JSON: Codable {
  /// Reads any JSON value.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Int64.self) {
      self = .int(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([String: JSON].self) {
      self = .object(value)
    } else if let value = try? container.decode([JSON].self) {
      self = .array(value)
    } else if let value = try? container.decode(Decimal.self), value.isFinite {
      self = .decimal(value)
    } else {
      self = .double(try container.decode(Double.self))
    }
  }

  /// Writes the value.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .int(let value): try container.encode(value)
    case .decimal(let value): try container.encode(value)
    case .double(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }
}
