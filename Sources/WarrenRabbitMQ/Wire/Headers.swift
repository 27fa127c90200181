/// The names of the headers that Warren writes and reads.
enum Headers {
  /// The delivery tag of a publish, so that a returned message finds its slot.
  static let sequence = "warren-seq"
  /// 1 when the id was made by Warren and so is never used for two different events.
  static let ownID = "warren-id"
  static let key = "warren-key"
  static let causation = "warren-causation-id"
  /// How often the event has been given to a handler of this service; absent the first time.
  static let attempt = "warren-attempt"

  // CloudEvents' AMQP binding, with the prefix for AMQP 0-9-1 headers.
  static let specVersion = "cloudEvents:specversion"
  static let eventID = "cloudEvents:id"
  static let source = "cloudEvents:source"
  static let type = "cloudEvents:type"
  static let time = "cloudEvents:time"
  static let subject = "cloudEvents:subject"

  // W3C Trace Context and Baggage.
  static let traceparent = "traceparent"
  static let tracestate = "tracestate"
  static let baggage = "baggage"

  // Of copies: dead letters and retries.
  static let originExchange = "warren-origin-exchange"
  static let originRoutingKey = "warren-origin-routing-key"
  static let originQueue = "warren-origin-queue"
  static let originUser = "warren-origin-user-id"
  static let deadCause = "warren-dead-reason"
  static let lastError = "warren-last-error"
  static let firstFailure = "warren-first-failed-at"
  static let lastFailure = "warren-failed-at"

  // Of dead letters that somebody has given another body.
  static let editedAt = "warren-edited-at"
  static let editedFrom = "warren-edited-from"

  /// What a broker adds about a message's way. A copy must not carry it: RabbitMQ 3.x takes a repeated `x-death` for a
  /// cycle and drops the message.
  static func isBrokers(_ name: String) -> Bool {
    name == "x-death" || name == "x-delivery-count" || name == "x-acquired-count" || name == "CC" || name == "BCC"
      || name.hasPrefix("x-first-death-") || name.hasPrefix("x-last-death-")
  }
}
