/// What is to become of a delivery after its handler.
public enum HandlerOutcome: Sendable {
  /// Done: acknowledge it.
  case handled
  /// Deliberately not handled: acknowledge it, and say why in the log and the metrics.
  case ignored(reason: String)
  /// The handler threw.
  case failed(any Error)
  /// Not now: another round after so long, or after what the retry policy says.
  case retry(after: Duration?, reason: String)
  /// Cannot be handled, now or later: to the dead letters.
  case deadLetter(DeadLetterReason)
}

/// Why an event is in the dead letters, as it stands in its header `warren-dead-reason`.
public struct DeadLetterReason: Hashable, Sendable, CustomStringConvertible {
  /// A short stable word for grouping, such as `undecodable`.
  public let cause: String
  /// The details. Cut to 512 bytes on the wire.
  public let text: String

  /// Makes a reason of your own.
  public init(cause: String, text: String) {
    self.cause = cause
    self.text = text
  }

  /// The body is not what the event type's code expects.
  public static func undecodable(_ text: String) -> DeadLetterReason { .init(cause: "undecodable", text: text) }
  /// The service has no handler for the event's type.
  public static func unknownType(_ text: String) -> DeadLetterReason { .init(cause: "unknownType", text: text) }
  /// The handler threw.
  public static func handlerFailed(_ text: String) -> DeadLetterReason { .init(cause: "handlerFailed", text: text) }
  /// The handler took longer than it may.
  public static func timedOut(_ text: String) -> DeadLetterReason { .init(cause: "timedOut", text: text) }
  /// The event was delivered again and again, alone, and never acknowledged: its handler ends the process.
  public static func crashLoop(_ text: String) -> DeadLetterReason { .init(cause: "crashLoop", text: text) }
  /// The handler asked for another round too often.
  public static func exhausted(_ text: String) -> DeadLetterReason { .init(cause: "exhausted", text: text) }
  /// The handler asked for it.
  public static func rejected(_ text: String) -> DeadLetterReason { .init(cause: "rejected", text: text) }
  /// The handler succeeded, but what it published could not be.
  public static func publishFailed(_ text: String) -> DeadLetterReason { .init(cause: "publishFailed", text: text) }

  /// The text for messages and logs.
  public var description: String { "\(cause): \(text)" }
}
