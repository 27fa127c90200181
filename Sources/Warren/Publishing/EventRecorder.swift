/// Keeps encoded events durably until they are delivered: the seam between publishers and stores.
public protocol EventRecorder: Sendable {
  /// Records the events in order, all or none, and returns their positions when they are durable.
  /// - Throws: an error that is a ``RecordingError``.
  func record(encoded events: [EncodedEvent]) async throws -> [LogPosition]

  /// Returns when it is known what became of what was recorded at these positions, one outcome each:
  /// ``PublishOutcome/confirmed``; the reason why an event is held back; ``PublishOutcome/notPublished(_:)`` when `timeout`
  /// passes first. What is not confirmed stays recorded and is delivered later.
  func waitUntilPublished(_ positions: [LogPosition], timeout: Duration) async throws -> [PublishOutcome]
}

/// Why a store has not recorded something.
public protocol RecordingError: Error {
  /// True when the same call may succeed later.
  var isRetryable: Bool { get }
  /// True when the events may have been recorded although this error was thrown.
  var mayHaveBeenRecorded: Bool { get }
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
