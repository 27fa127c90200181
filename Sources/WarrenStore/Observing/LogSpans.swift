import Tracing
import Warren

/// Spans of a log, with OpenTelemetry's messaging names (semantic conventions 1.37, "Messaging"): recording *creates* a message,
/// the relay *sends* it later, perhaps in another process, in a span that links back. They cost nothing without a tracer.
enum LogSpans {
  private static var isOff: Bool {
    // The second question alone would do, but looks through all instruments.
    InstrumentationSystem.instrument is NoOpInstrument || InstrumentationSystem.tracer is NoOpTracer
  }

  /// One event that is recorded; its context travels with the event.
  static func recording<R>(_ body: () throws -> (R, EventRow)) rethrows -> (R, EventRow) {
    guard !isOff else { return try body() }
    return try withSpan("create", ofKind: .producer) { span in
      let (result, row) = try body()
      describe(row, span)
      return (result, row)
    }
  }

  /// The same for an event that is recorded in a transaction of its own.
  static func recording<R>(
    _ body: () async throws -> (R, EventRow)
  ) async rethrows -> (R, EventRow) {
    guard !isOff else { return try await body() }
    return try await withSpan("create", ofKind: .producer) { span in
      let (result, row) = try await body()
      describe(row, span)
      return (result, row)
    }
  }

  private static func describe(_ row: EventRow, _ span: any Span) {
    let metadata = row.event.metadata
    span.operationName = "create \(metadata.type)"
    span.attributes["messaging.system"] = "warren"
    span.attributes["messaging.operation.type"] = "create"
    span.attributes["messaging.operation.name"] = "record"
    span.attributes["messaging.destination.name"] = EntityNames.exchange(of: metadata.type)
    span.attributes["messaging.message.body.size"] = row.event.body.count
    if let id = metadata.id { span.attributes["messaging.message.id"] = id.text }
  }

  /// Events that the relay gives to its publisher together.
  static func relaying(_ events: [EncodedEvent], _ publish: () async -> [PublishOutcome]) async -> [PublishOutcome] {
    guard !isOff else { return await publish() }
    return await withSpan("send events", ofKind: .client) { span in
      span.attributes["messaging.system"] = "warren"
      span.attributes["messaging.operation.type"] = "send"
      span.attributes["messaging.operation.name"] = "relay"
      span.attributes["messaging.batch.message_count"] = events.count
      for event in events {
        guard let trace = event.metadata.trace else { continue }
        span.addLink(SpanLink(context: trace.serviceContext(), attributes: [:]))
      }
      let outcomes = await publish()
      span.attributes["warren.confirmed"] = outcomes.count { $0.isConfirmed }
      return outcomes
    }
  }
}
