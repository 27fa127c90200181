#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// A value in a message's headers: what an AMQP 0-9-1 field table can hold (§4.2.5 of the specification, with
/// RabbitMQ's list of types).
public enum HeaderValue: Hashable, Sendable {
  case string(String)
  case int(Int64)
  case double(Double)
  case bool(Bool)
  case bytes([UInt8])
  /// Whole seconds on the wire.
  case timestamp(Date)
  case array([HeaderValue])
  case table([String: HeaderValue])
  case null

  /// The text, when it is one.
  public var string: String? { if case .string(let text) = self { text } else { nil } }
  /// The number, when it is a whole one.
  public var int: Int64? { if case .int(let number) = self { number } else { nil } }
}

extension HeaderValue {
  /// False when there is a NaN or an infinity in it.
  package var isFinite: Bool {
    switch self {
    case .double(let number): number.isFinite
    case .array(let values): values.allSatisfy(\.isFinite)
    case .table(let entries): entries.values.allSatisfy(\.isFinite)
    case .string, .int, .bool, .bytes, .timestamp, .null: true
    }
  }
}

extension HeaderValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
  /// A text.
  public init(stringLiteral value: String) { self = .string(value) }
  /// A whole number.
  public init(integerLiteral value: Int64) { self = .int(value) }
  /// True or false.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
}
