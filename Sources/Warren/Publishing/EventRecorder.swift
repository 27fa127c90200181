/// Keeps encoded events durably until they are delivered: the seam between publishers and stores.
public protocol EventRecorder: Sendable {
  /// Records the events in order, all or none, and returns their positions when they are durable.
  /// - Throws: what the store says; its error tells whether the events may have been recorded all the same.
  func record(encoded events: [EncodedEvent]) async throws -> [LogPosition]

  /// Returns when it is known what became of what was recorded at these positions, one outcome each:
  /// ``PublishOutcome/confirmed``; the reason why an event is held back; ``PublishOutcome/notPublished(_:)`` when `timeout`
  /// passes first. What is not confirmed stays recorded and is delivered later.
  func waitUntilPublished(_ positions: [LogPosition], timeout: Duration) async throws -> [PublishOutcome]
}

/// The place of an entry in a log. Positions follow the order of the commits and are never reused; there may be gaps.
public struct LogPosition: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// The first entry of a log has 1 or more.
  public let rawValue: Int64

  /// Takes a position that was stored elsewhere.
  public init(rawValue: Int64) { self.rawValue = rawValue }

  /// Earlier in the log is less.
  public static func < (a: LogPosition, b: LogPosition) -> Bool { a.rawValue < b.rawValue }

  /// The text for messages and logs.
  public var description: String { "\(rawValue)" }
}
