/// The stable name of a kind of event, such as `user.created` or `shop.order.placed.v2`.
///
/// Lower case letters, digits, `.`, `_` and `-`; at most 128 bytes; no empty segment; the first segment is not
/// `retry`, `dead` or `group`. The name is part of the contract between services: it is written in the code and never
/// derived from the name of a Swift type, so that renaming the Swift type changes nothing on the wire.
///
/// A literal that breaks the rules is reported by the first publish or subscription that uses it.
public struct EventType: Hashable, Sendable, CustomStringConvertible {
  /// The name as it stands on the wire.
  public let name: String

  /// Checks and takes a name from outside the code.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidName``, saying what is wrong with it.
  public init(_ name: String) throws(WarrenError) {
    self.name = name
    try validate()
  }

  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidName`` when the name breaks the rules.
  public func validate() throws(WarrenError) {
    if let problem = NameRules.problem(withType: name) {
      throw WarrenError(.invalidName, "event type \"\(name.shown(128))\" \(problem)")
    }
  }

  /// The text for messages and logs.
  public var description: String { name }
}

extension EventType {
  /// A name that was checked when it was stored: checking it again costs as much as reading a small event.
  package static func known(_ name: String) throws(WarrenError) -> EventType {
    guard !name.isEmpty else { throw WarrenError(.invalidName, "an event type is empty") }
    return EventType(unchecked: name)
  }

  private init(unchecked name: String) { self.name = name }
}

extension EventType: ExpressibleByStringLiteral {
  /// A literal of the code; see the type for when it is checked.
  public init(stringLiteral name: StaticString) {
    self.name = "\(name)"
  }
}

extension EventType: Comparable {
  /// By name.
  public static func < (a: EventType, b: EventType) -> Bool { a.name < b.name }
}
