import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension MessageProperties {
  /// AMQP's own properties of an event, and the headers that its publisher gave it. What Warren adds is written by
  /// ``EventMetadata/writeHeaders(to:hasOwnID:)``.
  init(_ event: EncodedEvent) {
    let metadata = event.metadata
    if !metadata.headers.isEmpty {
      // What the metadata itself says stands above a header of the same name; no key may be there twice.
      let written = metadata.trace == nil ? EventMetadata.ownHeaders : EventMetadata.knownHeaders
      headers = metadata.headers.filter { !written.contains($0.key) }
    }
    messageID = metadata.id?.text
    appID = metadata.source
    timestamp = metadata.timestamp
    correlationID = metadata.correlationID
    type = metadata.type.name
    contentType = metadata.contentType
    contentEncoding = metadata.contentEncoding
    deliveryMode = 2
    if let expiry = event.expiry { expiration = String(expiry.nanoseconds / 1_000_000) }
  }
}

extension EncodedEvent {
  /// Writes what `MessageProperties(self)` would write with ``EventMetadata/writeHeaders(to:hasOwnID:)``, for an event whose
  /// publisher gave it no headers and no expiry: nearly all of them, and without fourteen strings that change hands.
  /// - Returns: where the number of the publish stands.
  func writePlainProperties(to writer: inout FieldWriter) throws(WarrenError) -> Int {
    let metadata = metadata
    typealias Flag = MessageProperties.Flag
    let (id, timestamp) = (metadata.id?.text, metadata.timestamp)
    let (correlationID, source, contentType) = (metadata.correlationID, metadata.source, metadata.contentType)
    var flags = Flag.headers | Flag.deliveryMode | Flag.type
    func short(_ flag: UInt16, _ name: String, _ text: String?) throws(WarrenError) {
      guard let count = text?.utf8.count else { return }
      if count > 255 { throw PublishHead.tooLong(name, count) }
      flags |= flag
    }
    try short(Flag.messageID, "message-id", id)
    try short(Flag.correlationID, "correlation-id", correlationID)
    try short(Flag.type, "type", metadata.type.name)
    try short(Flag.appID, "app-id", source)
    try short(Flag.contentType, "content-type", contentType)
    if timestamp != nil { flags |= Flag.timestamp }

    writer.u16(flags)
    if let contentType { writer.shortString(contentType) }
    var sequence = 0
    writer.counted { writer in
      writer.raw(Self.sequenceHeader)
      sequence = writer.count - 8
      metadata.writeHeaders(to: &writer, hasOwnID: hasOwnID)
    }
    writer.u8(2)
    if let correlationID { writer.shortString(correlationID) }
    if let id { writer.shortString(id) }
    if let timestamp { writer.u64(timestamp) }
    writer.shortString(metadata.type.name)
    if let source { writer.shortString(source) }
    return sequence
  }

  /// True for an event that ``writePlainProperties(to:)`` writes whole.
  var isPlain: Bool { metadata.headers.isEmpty && expiry == nil && metadata.contentEncoding == nil }

  private static let sequenceHeader: [UInt8] = {
    var writer = FieldWriter(capacity: 32)
    writer.entry(Headers.sequence, 0)
    return writer.bytes
  }()
}

extension EventMetadata {
  /// AMQP's `timestamp`, in whole seconds.
  fileprivate var timestamp: UInt64? {
    (recordedAt ?? time).map {
      UInt64(bitPattern: Int64(max(-8e12, min(8e12, $0.timeIntervalSince1970.rounded(.down)))))
    }
  }

  /// CloudEvents' attributes, trace context and Warren's own headers.
  func writeHeaders(to writer: inout FieldWriter, hasOwnID: Bool) {
    writer.entry(Written.specVersion, "1.0")
    writer.entry(Written.type, type.name)
    if let id {
      writer.entry(Written.eventID, id.text)
      if hasOwnID { writer.entry(Headers.ownID, 1) }
    }
    writer.entry(Written.source, source)
    if let time {
      writer.raw(Written.time.head)
      writer.longString(time)
    }
    writer.entry(Written.subject, subject)
    writer.entry(Written.key, key)
    writer.entry(Written.causation, causationID)
    guard let trace else { return }
    writer.entry(Written.traceparent, trace.traceparent)
    writer.entry(Written.tracestate, trace.tracestate)
    writer.entry(Written.baggage, trace.baggage)
  }

  private enum Written {
    static let specVersion = TextHeader(Headers.specVersion)
    static let type = TextHeader(Headers.type)
    static let eventID = TextHeader(Headers.eventID)
    static let source = TextHeader(Headers.source)
    static let time = TextHeader(Headers.time)
    static let subject = TextHeader(Headers.subject)
    static let key = TextHeader(Headers.key)
    static let causation = TextHeader(Headers.causation)
    static let traceparent = TextHeader(Headers.traceparent)
    static let tracestate = TextHeader(Headers.tracestate)
    static let baggage = TextHeader(Headers.baggage)
  }
}

extension EventMetadata {
  fileprivate static let ownHeaders: Set<String> = [
    Headers.sequence, Headers.ownID, Headers.key, Headers.causation, Headers.specVersion, Headers.eventID,
    Headers.source, Headers.type, Headers.time, Headers.subject,
  ]
  fileprivate static let knownHeaders = ownHeaders.union([Headers.traceparent, Headers.tracestate, Headers.baggage])

  /// What a message says about its event. A foreign producer may have left out everything.
  init(_ properties: MessageProperties, type: EventType) {
    let headers = properties.headers
    func text(_ name: String) -> String? { headers[name]?.string }
    let id = (properties.messageID ?? text(Headers.eventID)).flatMap { try? EventID($0) }
    let time = text(Headers.time).flatMap { Date(rfc3339: $0) } ?? properties.timestamp.map { Date(seconds: $0) }
    let trace = TraceContext(
      traceparent: text(Headers.traceparent), tracestate: text(Headers.tracestate), baggage: text(Headers.baggage))
    let recorded = properties.timestamp.map { Date(seconds: $0) }
    let isLater = recorded != nil && recorded?.timeIntervalSince1970 != time?.timeIntervalSince1970.rounded(.down)
    let declared = properties.type ?? text(Headers.type)
    self.init(
      id: id, type: type, source: text(Headers.source) ?? properties.appID, time: time,
      recordedAt: isLater && time != nil ? recorded : nil, key: text(Headers.key), subject: text(Headers.subject),
      correlationID: properties.correlationID, causationID: text(Headers.causation),
      trace: trace.isEmpty ? nil : trace, contentType: properties.contentType,
      contentEncoding: properties.contentEncoding, declaredType: declared == type.name ? nil : declared,
      headers: headers.filter { !Self.knownHeaders.contains($0.key) })
  }
}
