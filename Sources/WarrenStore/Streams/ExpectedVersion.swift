/// What an append expects of its stream: the guard against two that decide at the same time.
public enum ExpectedVersion: Hashable, Sendable, CustomStringConvertible {
  /// Nothing: it is appended to whatever there is.
  case any
  /// The stream has no events.
  case noStream
  /// The stream has one event or more.
  case exists
  /// The stream's last event has this version. The first event has version 1; 0 says the same as ``noStream``.
  case version(Int64)

  func allows(_ actual: Int64) -> Bool {
    switch self {
    case .any: true
    case .noStream: actual == 0
    case .exists: actual > 0
    case .version(let version): actual == version
    }
  }

  /// The text for messages and logs.
  public var description: String {
    switch self {
    case .any: "any version"
    case .noStream: "no stream"
    case .exists: "a stream"
    case .version(let version): "version \(version)"
    }
  }
}

/// A stream is not as an append expected it: somebody else was first. Nothing was appended; read the stream again and decide
/// anew.
public struct ConflictError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The stream.
  public let stream: StreamName
  /// What the append expected.
  public let expected: ExpectedVersion
  /// The version of the stream's last event; 0: it has none.
  public let actual: Int64

  /// The text for messages and logs.
  public var description: String {
    "conflict: stream \(stream) is at version \(actual) and the append expected \(expected): read it again and decide anew"
  }
}
