#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// One step from an older body, or an older name of an event type, to the next: a function on the raw JSON.
public struct Upcaster: Sendable {
  let type: EventType
  /// Bodies of this version; nil: of every version, under another name.
  let version: Int?
  let target: EventType
  let change: @Sendable (inout JSON) throws -> Void

  /// Bodies of `type` with this version become bodies of the next.
  public static func body(
    of type: EventType, from version: Int, _ change: @escaping @Sendable (inout JSON) throws -> Void
  ) -> Upcaster {
    Upcaster(type: type, version: version, target: type, change: change)
  }

  /// Events that were called `type` count as `target`, with the body that `change` makes of theirs. They begin there with
  /// version 1.
  public static func renamed(
    _ type: EventType, to target: EventType, _ change: @escaping @Sendable (inout JSON) throws -> Void = { _ in }
  ) -> Upcaster {
    Upcaster(type: type, version: nil, target: target, change: change)
  }
}

/// The steps that lead from everything that was ever recorded or sent to what the code knows today. They serve stored events
/// and messages of the broker alike.
///
/// ```swift
/// struct UserCreated: Event {
///   static let eventType: EventType = "user.created"
///   static let schemaVersion = 2
///   static var upcasters: Upcasters { [
///     .body(of: "user.created", from: 1) { $0.rename("fullName", to: "name") },
///     .renamed("user.registered", to: "user.created"),
///   ] }
///   var name: String
/// }
/// ```
public struct Upcasters: Sendable, ExpressibleByArrayLiteral {
  private let steps: [Upcaster]

  /// Makes them from a list, in any order.
  public init(arrayLiteral elements: Upcaster...) { steps = elements }

  var isEmpty: Bool { steps.isEmpty }

  /// Types whose events are read under another name.
  var oldTypes: [EventType] { steps.filter { $0.version == nil }.map(\.type) }

  func concern(_ type: EventType) -> Bool { steps.contains { $0.type == type } }

  /// Follows the steps until none fits.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/decodingFailed``.
  func apply(
    _ type: EventType, version: Int, body: Data
  ) throws(WarrenError) -> (type: EventType, body: Data) {
    var (type, version) = (type, version)
    do {
      var json: JSON?
      // Names that go in circles would never end.
      for _ in 0...steps.count {
        // A body is first brought up to date under its own name.
        let step =
          steps.first { $0.type == type && $0.version == version }
          ?? steps.first { $0.type == type && $0.version == nil }
        guard let step else {
          return (type, try json.map { try WarrenJSON.encode($0) } ?? body)
        }
        var value = try json ?? WarrenJSON.decode(body)
        try step.change(&value)
        json = value
        version = step.version.map { $0 + 1 } ?? 1
        type = step.target
      }
    } catch {
      throw WarrenError(.decodingFailed, "\(type) version \(version): bringing it up to date failed: \(explain(error))")
    }
    throw WarrenError(.decodingFailed, "\(type): its upcasters go in a circle")
  }
}

extension Event {
  /// The types whose events can be read as this one: ``eventTypes``, and older names of them.
  public static var readTypes: [EventType] {
    let old = upcasters.oldTypes
    return old.isEmpty ? eventTypes : eventTypes + old.filter { !eventTypes.contains($0) }
  }

  /// The value of an event that may be of an older version or have an older name. The metadata is looked at only where there
  /// are upcasters for the type.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/decodingFailed``.
  package static func read(
    type: EventType, body: Data, metadata: @autoclosure () -> EventMetadata
  ) throws(WarrenError) -> Self {
    let upcasters = upcasters
    guard !upcasters.isEmpty, upcasters.concern(type) else { return try decoded(type: type, body: body) }
    let version = metadata().headers[EventHeaders.schemaVersion]?.int.map { Int(clamping: $0) } ?? 1
    let current = try upcasters.apply(type, version: version, body: body)
    return try decoded(type: current.type, body: current.body)
  }
}
