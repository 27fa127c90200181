import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The copy of a message that goes to a service's dead letters.
enum DeadLetterCopy {
  /// Nil when a copy would lose something, or leaves no room for the reason: the broker must move such a message itself.
  static func request(
    of message: IncomingMessage, from queue: String, to deadLetters: String, reason: DeadLetterReason, round: Int = 1,
    now: Date
  ) -> PublishRequest? {
    guard
      var properties = FailureCopy.properties(of: message, from: queue, round: round, error: reason.text, now: now)
    else { return nil }
    properties.headers[Headers.deadCause] = .string(reason.cause)
    return FailureCopy.request(exchange: "", routingKey: deadLetters, properties, message.body)
  }
}

/// The copy of a message that waits in a rung of the retry ladder, and comes back to its queue as the next round.
enum RetryCopy {
  /// Nil when a copy would lose something.
  static func request(
    of message: IncomingMessage, to queue: String, through rung: String, round: Int, error: String, now: Date
  ) -> PublishRequest? {
    guard let properties = FailureCopy.properties(of: message, from: queue, round: round, error: error, now: now)
    else { return nil }
    return FailureCopy.request(exchange: rung, routingKey: queue, properties, message.body)
  }
}
