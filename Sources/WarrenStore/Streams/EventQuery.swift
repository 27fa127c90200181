public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// Which events are read, from where, and in which direction.
public struct EventQuery: Sendable, Hashable {
  /// Where reading begins.
  public enum Start: Sendable, Hashable {
    /// At the first event; read backwards, at the last.
    case beginning
    /// At this version of the stream, itself included.
    case version(Int64)
    /// At this position, itself included.
    case position(LogPosition)
    /// Only what was recorded then or later; read backwards, then or earlier.
    case time(Date)
  }
  /// The order of the events.
  public enum Direction: Sendable, Hashable {
    /// In the order in which they were committed.
    case forwards
    /// The latest first.
    case backwards
  }

  /// One stream; nil: the whole log.
  public var stream: StreamName?
  /// Only these types; empty: all.
  public var types: [EventType]
  /// Where reading begins.
  public var start: Start
  /// The order of the events.
  public var direction: Direction
  /// The most events; nil: no bound.
  public var limit: Int?

  /// Makes a query; without arguments, the whole log.
  public init(
    stream: StreamName? = nil, types: [EventType] = [], from start: Start = .beginning,
    direction: Direction = .forwards, limit: Int? = nil
  ) {
    self.stream = stream
    self.types = types
    self.start = start
    self.direction = direction
    self.limit = limit
  }

  /// A statement accepts some hundreds of them, and nobody has so many.
  static let mostTypes = 200

  func validate() throws(StoreError) {
    try stream?.validate()
    if case .version = start, stream == nil {
      throw StoreError(.invalidConfiguration, "from is a version: versions are of a stream, so name one, or a position")
    }
    try OptionRules.check("the number of types", types.count, 0...Self.mostTypes)
    if let limit { try OptionRules.check("limit", limit, 0 ... .max) }
  }
}
