#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// What is known about an event beside its body.
public struct EventMetadata: Hashable, Sendable {
  /// Nil for a message of another producer that carries none: such an event cannot be told from its repeats.
  public var id: EventID?
  /// The event's type.
  public var type: EventType
  /// The service that published it.
  public var source: String?
  /// When it happened, to the millisecond.
  public var time: Date?
  /// When it was recorded in a log, to the second on the wire: AMQP's `timestamp`. Nil when that says the same as the time.
  public var recordedAt: Date?
  /// The ordering key: events of one type and one key are delivered in the order in which they were published.
  public var key: String?
  /// CloudEvents' `subject`: what, inside the source, the event is about.
  public var subject: String?
  /// The same for all events that follow from one first cause.
  public var correlationID: String?
  /// The id of the event whose handling published this one.
  public var causationID: String?
  /// The trace that the event belongs to.
  public var trace: TraceContext?
  /// AMQP's `content-type`.
  public var contentType: String?
  /// AMQP's `content-encoding`: a body that has one, such as `gzip`, is not decoded.
  public var contentEncoding: String?
  /// AMQP's `type` property where it says something else than the exchange that the message came through.
  public var declaredType: String?
  /// All other headers.
  public var headers: [String: HeaderValue]

  /// Metadata of a new event: a new id, the current time.
  public init(type: EventType, source: String? = nil) {
    self.init(id: EventID(), type: type, source: source, time: Date(milliseconds: Int64(wallClockMilliseconds())))
  }

  /// Makes metadata from its parts.
  public init(
    id: EventID?, type: EventType, source: String? = nil, time: Date? = nil, key: String? = nil,
    subject: String? = nil, correlationID: String? = nil, causationID: String? = nil, trace: TraceContext? = nil,
    contentType: String? = "application/json", headers: [String: HeaderValue] = [:]
  ) {
    self.id = id
    self.type = type
    self.source = source
    self.time = time
    self.key = key
    self.subject = subject
    self.correlationID = correlationID
    self.causationID = causationID
    self.trace = trace
    self.contentType = contentType
    self.headers = headers
  }
}
