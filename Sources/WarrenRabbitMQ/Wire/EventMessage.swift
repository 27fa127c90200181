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
    if let time = metadata.recordedAt ?? metadata.time {
      timestamp = UInt64(bitPattern: Int64(max(-8e12, min(8e12, time.timeIntervalSince1970.rounded(.down)))))
    }
    correlationID = metadata.correlationID
    type = metadata.type.name
    contentType = metadata.contentType
    contentEncoding = metadata.contentEncoding
    deliveryMode = 2
    if let expiry = event.expiry { expiration = String(expiry.nanoseconds / 1_000_000) }
  }
}

extension EventMetadata {
  /// CloudEvents' attributes, trace context and Warren's own headers.
  func writeHeaders(to writer: inout FieldWriter, hasOwnID: Bool) {
    writer.entry(Written.specVersion, "1.0")
    writer.entry(Written.type, type.name)
    if let id {
      writer.entry(Written.eventID, id.text)
      if hasOwnID { writer.entry(Headers.ownID, 1) }
    }
    writer.entry(Written.source, source)
    writer.entry(Written.time, time?.rfc3339)
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
    self.init(
      id: id, type: type, source: text(Headers.source) ?? properties.appID, time: time, key: text(Headers.key),
      subject: text(Headers.subject), correlationID: properties.correlationID, causationID: text(Headers.causation),
      trace: trace.isEmpty ? nil : trace, contentType: properties.contentType,
      headers: headers.filter { !Self.knownHeaders.contains($0.key) })
    if let recorded = properties.timestamp.map({ Date(seconds: $0) }), let time,
      recorded.timeIntervalSince1970 != time.timeIntervalSince1970.rounded(.down)
    {
      recordedAt = recorded
    }
    contentEncoding = properties.contentEncoding
    let declared = properties.type ?? text(Headers.type)
    if let declared, declared != type.name { declaredType = declared }
  }
}
