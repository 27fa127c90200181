public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// One message in a service's dead letters.
public struct DeadLetter: Sendable {
  /// What it is chosen by: its message id, or for a message that has none a `~` and a fingerprint of its bytes.
  public let id: String
  /// False when ``id`` is a fingerprint.
  public let hasOwnID: Bool
  /// The event type that it was delivered as; nil in the dead letters of a group when it does not say so.
  public let type: EventType?
  /// A short word for grouping, as in ``DeadLetterReason/cause``. What the broker itself moved has `broker.` and its own word:
  /// `broker.delivery_limit`, `broker.rejected` (a message that Warren could not copy without losing some of it),
  /// `broker.expired`, `broker.maxlen`. What somebody put here without a reason is `unknown`.
  public let cause: String
  /// The last error, at most 512 bytes; empty where there is none.
  public let reason: String
  /// When it failed first, as the message says.
  public let firstFailure: Date?
  /// When it failed last, as the message says.
  public let lastFailure: Date?
  /// Where it was published.
  public let exchange: String
  /// With which routing key.
  public let routingKey: String
  /// What else the message says about itself. Without headers that cannot be read: see ``unreadable``.
  /// Its type is `unknown` where ``type`` is nil.
  public let metadata: EventMetadata
  /// The names of headers that cannot be read; they stay with the message nevertheless. Holds `"*"` when no property can be.
  public let unreadable: [String]
  /// The body, whole.
  public let body: Data
  /// The properties as they stand on the wire (AMQP 0-9-1 §4.2.6.1): with the body, all that there is of the message.
  public let properties: [UInt8]

  init(_ message: IncomingMessage, of type: EventType?) {
    let raw = try? RawProperties(message.properties)
    let (properties, unreadable) = raw?.readable ?? (MessageProperties(), ["*"])
    let headers = properties.headers
    let death = BrokersDeath(headers)
    exchange = headers[Headers.originExchange]?.string ?? death?.exchange ?? message.exchange
    routingKey = headers[Headers.originRoutingKey]?.string ?? death?.routingKey ?? message.routingKey
    let declared = properties.type ?? headers[Headers.type]?.string
    self.type = EntityNames.type(ofExchange: exchange) ?? declared.flatMap { try? EventType($0) } ?? type
    metadata = EventMetadata(properties, type: self.type ?? "unknown")
    let own = properties.messageID ?? headers[Headers.eventID]?.string
    hasOwnID = own?.isEmpty == false
    id = hasOwnID ? own ?? "" : Self.fingerprint(message, raw)
    // A copy of Warren's has none of the broker's headers: where they are, the broker was the last.
    if let death {
      cause = "broker.\(death.reason)"
      reason = ""
      firstFailure = headers[Headers.firstFailure]?.string.flatMap { Date(rfc3339: $0) } ?? death.time
      lastFailure = death.time
    } else {
      let word = headers[Headers.deadCause]?.string
      cause = word.map { $0.cut(toBytes: 64) } ?? "unknown"
      reason = (headers[Headers.lastError]?.string ?? "").cut(toBytes: FailureCopy.longestError)
      firstFailure = headers[Headers.firstFailure]?.string.flatMap { Date(rfc3339: $0) }
      lastFailure = headers[Headers.lastFailure]?.string.flatMap { Date(rfc3339: $0) }
    }
    self.unreadable = unreadable
    body = message.body
    self.properties = message.properties
  }

  /// Without what the broker counts up whenever somebody looks.
  private static func fingerprint(_ message: IncomingMessage, _ properties: RawProperties?) -> String {
    var hash = StableHash()
    if var properties {
      properties.removeHeaders { $0 == "x-delivery-count" || $0 == "x-acquired-count" }
      var writer = FieldWriter(capacity: 256)
      _ = properties.write(to: &writer)
      hash.combine(writer.bytes)
    } else {
      hash.combine(message.properties)
    }
    hash.combine(message.body)
    return "~" + String(hash.value, radix: 16)
  }

  /// The same letter twice: the same event with the same content, of which one delivery is enough.
  var sameness: UInt128 {
    var hash = StableHash()
    hash.combine(id)
    hash.combine(body)
    return hash.value
  }
}

/// What the broker says in `x-death` about the last time that it moved a message. Any client can write this header, so nothing
/// of it is taken for granted.
struct BrokersDeath {
  var reason = "unknown"
  var exchange: String?
  var routingKey: String?
  var queue: String?
  var time: Date?

  init?(_ headers: [String: HeaderValue]) { self.init(headers["x-death"]) }

  init?(_ value: HeaderValue?) {
    guard let value else { return nil }
    guard case .array(let deaths) = value, case .table(let last)? = deaths.first else { return }
    // The words of RabbitMQ, "Dead Letter Exchanges"; others are somebody's invention.
    let words = ["rejected", "expired", "maxlen", "delivery_limit"]
    if let word = last["reason"]?.string, words.contains(word) { reason = word }
    exchange = last["exchange"]?.string
    queue = last["queue"]?.string
    if case .array(let keys)? = last["routing-keys"] { routingKey = keys.first?.string }
    if case .timestamp(let date)? = last["time"] { time = date }
  }
}
