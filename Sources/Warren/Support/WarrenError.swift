/// What is wrong with a name, an event or a configuration, before any broker or database is asked.
public struct WarrenError: Error, Sendable, CustomStringConvertible {
  /// The kinds of ``WarrenError``.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    private let name: String
    private init(_ name: String) { self.name = name }
    /// The text for messages and logs.
    public var description: String { name }

    /// A name breaks the rules for its kind.
    public static let invalidName = Code("invalidName")
    /// An event could not be turned into JSON.
    public static let encodingFailed = Code("encodingFailed")
    /// A body is not what the event type's code expects.
    public static let decodingFailed = Code("decodingFailed")
    /// A header, an id or another property breaks a limit of the protocol.
    public static let invalidMetadata = Code("invalidMetadata")
    /// A setting, or a combination of settings, is not allowed.
    public static let invalidConfiguration = Code("invalidConfiguration")
  }

  /// What kind of error this is.
  public let code: Code
  /// What happened and what to do about it.
  public let message: String
  /// None of these goes away by trying again.
  public var isRetryable: Bool { false }

  /// Makes an error.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// The text for messages and logs.
  public var description: String { "\(code): \(message)" }
}
