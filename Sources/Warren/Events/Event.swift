#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// Something that happened, as a value that other services can read.
///
/// ```swift
/// struct UserCreated: Event {
///   static let eventType: EventType = "user.created"
///   var id: Int
///   var name: String
/// }
/// ```
///
/// The body on the wire is the value's own JSON. For several related types in one Swift type see ``EventFamily``.
public protocol Event: Codable, Sendable {
  /// The name of the type on the wire. Stable: see ``EventType``.
  static var eventType: EventType { get }
  /// All types that values of this Swift type may have. One, unless it is an ``EventFamily``.
  static var eventTypes: [EventType] { get }
  /// How values become bytes. ``EventCoding/json`` unless you say otherwise.
  static var coding: EventCoding<Self> { get }
  /// Events that are appended to a stream are private to their service unless this is true: then the relay sends them. False
  /// unless you say otherwise. Publishing and recording do not ask.
  static var publishes: Bool { get }
  /// The version of the body's shape, 1 unless you say otherwise. Raise it together with a new step in ``upcasters``.
  static var schemaVersion: Int { get }
  /// What older bodies, and events under older names, go through before they are decoded. None unless you say otherwise.
  static var upcasters: Upcasters { get }

  /// The type and the body of this value.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/encodingFailed``.
  func encoded() throws(WarrenError) -> (type: EventType, body: Data)
  /// The value of type `type` with this body.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/decodingFailed``.
  static func decoded(type: EventType, body: Data) throws(WarrenError) -> Self
}

extension Event {
  /// The event types whose queues it reads.
  public static var eventTypes: [EventType] { [eventType] }
  /// How values become bytes: ``EventCoding/json``.
  public static var coding: EventCoding<Self> { .json }
  /// Events in streams are private.
  public static var publishes: Bool { false }
  /// The first version.
  public static var schemaVersion: Int { 1 }
  /// None.
  public static var upcasters: Upcasters { [] }

  /// The type and the body of this value.
  public func encoded() throws(WarrenError) -> (type: EventType, body: Data) {
    do {
      return (Self.eventType, try Self.coding.body(of: self))
    } catch {
      throw WarrenError(.encodingFailed, "\(Self.self) (\(Self.eventType)): \(explain(error))")
    }
  }

  /// The value of a type with this body.
  public static func decoded(type: EventType, body: Data) throws(WarrenError) -> Self {
    do {
      return try coding.value(in: body)
    } catch {
      throw WarrenError(.decodingFailed, "\(type) is not a \(Self.self): \(explain(error))")
    }
  }
}

/// A coding error in one line, with the path to the place but never with the value found there: bodies may hold
/// what must not reach logs and headers.
///
/// `wrappers` counts the outermost keys that are not in the body but were put around it.
func explain(_ error: any Error, wrappers: Int = 0) -> String {
  // Keys are strangers' text too.
  func path(_ keys: [any CodingKey]) -> String {
    var names = keys.dropFirst(wrappers).map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue.shown(40) }
    if names.isEmpty { return "the top level" }
    if names.count > 8 { names.replaceSubrange(4..<(names.count - 4), with: ["…"]) }
    return names.joined(separator: ".")
  }
  switch error {
  case DecodingError.keyNotFound(let key, let context):
    return "key \"\(key.stringValue.shown(40))\" is missing at \(path(context.codingPath))"
  case DecodingError.typeMismatch(let type, let context):
    return "expected \(type) at \(path(context.codingPath))"
  case DecodingError.valueNotFound(let type, let context):
    return "null where \(type) is expected at \(path(context.codingPath))"
  case DecodingError.dataCorrupted(let context):
    // Foundation does not say where a number stands that the type cannot hold, nor that it is one.
    return context.codingPath.isEmpty
      ? "not valid JSON, or a number in it does not fit" : "unusable value at \(path(context.codingPath))"
  case EncodingError.invalidValue(_, let context):
    return "a value at \(path(context.codingPath)) has no JSON form"
  case let error as WarrenError:
    return error.message
  default:
    return "\(error)"
  }
}
