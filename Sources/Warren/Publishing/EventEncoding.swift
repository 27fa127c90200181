#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension EncodedEvent {
  /// The event as bytes, with the metadata of a new publish: a new id unless the options give one, the current time,
  /// correlation and causation of the event that is being handled, and the trace of the current task.
  ///
  /// The type's name is not checked here, because its rules cost as much as a small body: a caller does it once per type.
  /// - Throws: ``WarrenError`` when the event has no JSON form or an option breaks a limit.
  package init<E: Event>(_ event: E, options: PublishOptions, source: ServiceName) throws(WarrenError) {
    try options.validate()
    let (type, body) = try event.encoded()
    let cause = HandlerScope.current?.delivery.metadata
    var headers = options.headers
    if let actor = options.actor { headers[EventHeaders.actor] = .string(actor) }
    if E.schemaVersion > 1 { headers[EventHeaders.schemaVersion] = .int(Int64(E.schemaVersion)) }
    let metadata = EventMetadata(
      id: options.id ?? EventID(), type: type, source: source.name,
      time: options.time ?? Date(milliseconds: Int64(wallClockMilliseconds())), key: options.key,
      subject: options.subject, correlationID: options.correlationID ?? cause?.correlationID ?? cause?.id?.text,
      causationID: options.causationID ?? cause?.id?.text, trace: TraceContext.current(), headers: headers)
    self.init(
      metadata: metadata, body: body, routingKey: options.routingKey, expiry: options.expiry,
      hasOwnID: options.id == nil)
  }
}

/// Headers that belong to the vocabulary and not to a broker.
package enum EventHeaders {
  /// The version of the body's shape; absent for the first.
  package static let schemaVersion = "warren-schema"
  /// Who did what the event tells.
  package static let actor = "warren-actor"
  /// On copies from history: the id of the replay.
  package static let replay = "warren-replay"
}
