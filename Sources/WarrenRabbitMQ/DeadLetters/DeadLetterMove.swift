import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The message that a dead letter becomes: the same bytes, but for what must not go along.
enum DeadLetterMove {
  /// To the work queue, to be handled as if for the first time. Why it failed before stays with it, as history.
  static func replayed(
    _ message: IncomingMessage, to queue: String, edit: DeadLetterEdit? = nil
  ) throws -> PublishRequest {
    var properties = try RawProperties(message.properties)
    prepare(&properties, message)
    properties.removeHeaders { $0 == Headers.attempt }
    return try request(properties, to: queue, message.body, edit)
  }

  /// Behind the other dead letters, with another body. The broker's own words about it would not survive: they are written
  /// down as Warren writes its own.
  static func edited(_ message: IncomingMessage, in queue: String, edit: DeadLetterEdit) throws -> PublishRequest {
    var properties = try RawProperties(message.properties)
    if let death = BrokersDeath(properties.header("x-death")) {
      properties.set(Headers.deadCause, .string("broker.\(death.reason)"))
      properties.set(Headers.lastError, "")
      if let time = death.time?.rfc3339 {
        properties.set(Headers.lastFailure, .string(time))
        if !properties.has(Headers.firstFailure) { properties.set(Headers.firstFailure, .string(time)) }
      }
    }
    prepare(&properties, message)
    return try request(properties, to: queue, message.body, edit)
  }

  private static func prepare(_ properties: inout RawProperties, _ message: IncomingMessage) {
    // Where it came from is in the broker's headers when the broker moved it; without them it would be forgotten.
    if let death = BrokersDeath(properties.header("x-death")) {
      let origin = [
        (Headers.originExchange, death.exchange), (Headers.originRoutingKey, death.routingKey),
        (Headers.originQueue, death.queue),
      ]
      for (name, value) in origin where !properties.has(name) {
        if let value { properties.set(name, .string(value)) }
      }
    }
    properties.removeHeaders(where: Headers.isBrokers)
    // The broker refuses a publish in another user's name, and an event that expires on its way would be gone.
    if let user = properties.readable.properties.userID, !properties.has(Headers.originUser) {
      properties.set(Headers.originUser, .string(user))
    }
    properties.remove(MessageProperties.Flag.userID)
    properties.remove(MessageProperties.Flag.expiration)
  }

  private static func request(
    _ properties: RawProperties, to queue: String, _ body: Data, _ edit: DeadLetterEdit?
  ) throws -> PublishRequest {
    var properties = properties
    if let edit {
      properties.set(Headers.editedAt, .string(edit.time.rfc3339))
      properties.set(Headers.editedFrom, .string(edit.before))
    }
    let body = edit?.body ?? body
    let head = try PublishHead(queue: queue, properties: properties, bodySize: body.count)
    return PublishRequest(exchange: "", head: head, body: body)
  }
}

/// A new body for a dead letter, and what there was before.
struct DeadLetterEdit {
  let body: Data
  let time: Date
  /// The old body's size and fingerprint; the old body itself is in the record of the edit.
  let before: String

  init(from old: Data, to body: Data, time: Date) {
    self.body = body
    self.time = time
    var hash = StableHash()
    hash.combine(old)
    before = "\(old.count) bytes ~\(String(hash.value, radix: 16))"
  }
}
