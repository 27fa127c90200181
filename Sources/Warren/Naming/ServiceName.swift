/// The name of a service: 1 to 64 characters of `a-z`, `0-9` and `-`. It owns queues, so all instances of a service
/// share its name and compete for its events.
///
/// A literal that breaks the rules is reported when the subscriber starts.
public struct ServiceName: Hashable, Sendable, CustomStringConvertible {
  /// The name as it stands in queue names.
  public let name: String

  /// Checks and takes a name from outside the code.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidName``, saying what is wrong with it.
  public init(_ name: String) throws(WarrenError) {
    self.name = name
    try validate()
  }

  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidName`` when the name breaks the rules.
  public func validate() throws(WarrenError) {
    if let problem = NameRules.problem(withOwner: name) {
      throw WarrenError(.invalidName, "service name \"\(name.shown(64))\" \(problem)")
    }
  }

  /// The text for messages and logs.
  public var description: String { name }
}

extension ServiceName: ExpressibleByStringLiteral {
  /// A literal of the code; see the type for when it is checked.
  public init(stringLiteral name: StaticString) {
    self.name = "\(name)"
  }
}
