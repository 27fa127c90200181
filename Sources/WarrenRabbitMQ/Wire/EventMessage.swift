#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import Warren

extension MessageProperties {
  /// An event's metadata as it goes on the wire: AMQP's properties, and CloudEvents' attributes as headers.
  init(_ event: EncodedEvent) {
    let metadata = event.metadata
    headers = metadata.headers
    headers[Headers.specVersion] = "1.0"
    headers[Headers.type] = .string(metadata.type.name)
    if let id = metadata.id {
      messageID = id.text
      headers[Headers.eventID] = .string(id.text)
      if event.hasOwnID { headers[Headers.ownID] = 1 }
    }
    if let source = metadata.source {
      appID = source
      headers[Headers.source] = .string(source)
    }
    if let time = metadata.time {
      timestamp = UInt64(bitPattern: Int64(time.timeIntervalSince1970.rounded(.down)))
      headers[Headers.time] = .string(time.rfc3339)
    }
    if let subject = metadata.subject { headers[Headers.subject] = .string(subject) }
    if let key = metadata.key { headers[Headers.key] = .string(key) }
    if let causation = metadata.causationID { headers[Headers.causation] = .string(causation) }
    if let trace = metadata.trace {
      if let value = trace.traceparent { headers[Headers.traceparent] = .string(value) }
      if let value = trace.tracestate { headers[Headers.tracestate] = .string(value) }
      if let value = trace.baggage { headers[Headers.baggage] = .string(value) }
    }
    correlationID = metadata.correlationID
    type = metadata.type.name
    contentType = metadata.contentType
    deliveryMode = 2
    if let expiry = event.expiry { expiration = String(expiry.nanoseconds / 1_000_000) }
  }
}

extension EventMetadata {
  private static let known: Set<String> = [
    Headers.sequence, Headers.ownID, Headers.key, Headers.causation, Headers.specVersion, Headers.eventID,
    Headers.source, Headers.type, Headers.time, Headers.subject, Headers.traceparent, Headers.tracestate,
    Headers.baggage,
  ]

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
      headers: headers.filter { !Self.known.contains($0.key) })
    let declared = properties.type ?? text(Headers.type)
    if let declared, declared != type.name { declaredType = declared }
  }
}
