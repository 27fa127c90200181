#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// What is known about an event beside its body.
public struct EventMetadata: Hashable, Sendable {
  // One reference instead of fourteen: metadata goes through many hands on its way, and is written by few of them.
  private var box: Box

  /// Nil for a message of another producer that carries none: such an event cannot be told from its repeats.
  public var id: EventID? {
    get { fields.id }
    set { fields.id = newValue }
  }
  /// The event's type.
  public var type: EventType {
    get { fields.type }
    set { fields.type = newValue }
  }
  /// The service that published it.
  public var source: String? {
    get { fields.source }
    set { fields.source = newValue }
  }
  /// When it happened, to the millisecond.
  public var time: Date? {
    get { fields.time }
    set { fields.time = newValue }
  }
  /// When it was recorded in a log, to the second on the wire: AMQP's `timestamp`. Nil when that says the same as the time.
  public var recordedAt: Date? {
    get { fields.recordedAt }
    set { fields.recordedAt = newValue }
  }
  /// The ordering key: events of one type and one key are delivered in the order in which they were published.
  public var key: String? {
    get { fields.key }
    set { fields.key = newValue }
  }
  /// CloudEvents' `subject`: what, inside the source, the event is about.
  public var subject: String? {
    get { fields.subject }
    set { fields.subject = newValue }
  }
  /// The same for all events that follow from one first cause.
  public var correlationID: String? {
    get { fields.correlationID }
    set { fields.correlationID = newValue }
  }
  /// The id of the event whose handling published this one.
  public var causationID: String? {
    get { fields.causationID }
    set { fields.causationID = newValue }
  }
  /// The trace that the event belongs to.
  public var trace: TraceContext? {
    get { fields.trace }
    set { fields.trace = newValue }
  }
  /// AMQP's `content-type`.
  public var contentType: String? {
    get { fields.contentType }
    set { fields.contentType = newValue }
  }
  /// AMQP's `content-encoding`: a body that has one, such as `gzip`, is not decoded.
  public var contentEncoding: String? {
    get { fields.contentEncoding }
    set { fields.contentEncoding = newValue }
  }
  /// AMQP's `type` property where it says something else than the exchange that the message came through.
  public var declaredType: String? {
    get { fields.declaredType }
    set { fields.declaredType = newValue }
  }
  /// All other headers.
  public var headers: [String: HeaderValue] {
    get { fields.headers }
    // In place as far as it goes: one new header does not copy the others twice.
    _modify {
      var headers = fields.headers
      // Also when what changes them throws.
      defer { fields.headers = headers }
      yield &headers
    }
  }

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
    self.init(
      id: id, type: type, source: source, time: time, recordedAt: nil, key: key, subject: subject,
      correlationID: correlationID, causationID: causationID, trace: trace, contentType: contentType,
      contentEncoding: nil, declaredType: nil, headers: headers)
  }

  /// All of it at once.
  package init(
    id: EventID?, type: EventType, source: String?, time: Date?, recordedAt: Date?, key: String?, subject: String?,
    correlationID: String?, causationID: String?, trace: TraceContext?, contentType: String?, contentEncoding: String?,
    declaredType: String?, headers: [String: HeaderValue]
  ) {
    box = Box(
      Fields(
        id: id, type: type, source: source, time: time, recordedAt: recordedAt, key: key, subject: subject,
        correlationID: correlationID, causationID: causationID, trace: trace, contentType: contentType,
        contentEncoding: contentEncoding, declaredType: declaredType, headers: headers))
  }

  /// Field by field.
  public static func == (a: EventMetadata, b: EventMetadata) -> Bool { a.box === b.box || a.box.fields == b.box.fields }

  /// Field by field.
  public func hash(into hasher: inout Hasher) { box.fields.hash(into: &hasher) }

  private var fields: Fields {
    get { box.fields }
    set { box = Box(newValue) }
  }
}

private struct Fields: Hashable, Sendable {
  var id: EventID?
  var type: EventType
  var source: String?
  var time: Date?
  var recordedAt: Date?
  var key: String?
  var subject: String?
  var correlationID: String?
  var causationID: String?
  var trace: TraceContext?
  var contentType: String?
  var contentEncoding: String?
  var declaredType: String?
  var headers: [String: HeaderValue]
}

/// Constant, so that reading asks for no access. Writing makes a new one: what is written often is made at once.
private final class Box: Sendable {
  let fields: Fields
  init(_ fields: Fields) { self.fields = fields }
}
