import GRDB
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// An event as a row of the tables that hold events.
struct EventRow: Sendable {
  let event: EncodedEvent
  /// Headers as they are stored.
  private let headers: String?

  /// Checks the limits, so that nothing is recorded that cannot be published.
  /// - Throws: ``StoreError`` with code ``StoreError/Code/invalidEvent``.
  init(_ event: EncodedEvent, maximumBodySize: Int) throws(StoreError) {
    guard event.body.count <= maximumBodySize else {
      throw StoreError(
        .invalidEvent,
        "\(event.metadata.type): the body has \(event.body.count) bytes and maximumBodySize is \(maximumBodySize)")
    }
    guard event.metadata.id != nil else {
      throw StoreError(.invalidEvent, "\(event.metadata.type): an event without an id cannot be recorded")
    }
    self.event = event
    do {
      headers = try StoredHeaders.text(event.metadata.headers)
    } catch {
      throw StoreError(.invalidEvent, "\(event.metadata.type): its headers cannot be stored: \(error)")
    }
    for (what, text) in [("routing key", event.routingKey), ("correlation id", event.metadata.correlationID)] {
      if let text, text.utf8.count > 255 {
        throw StoreError(
          .invalidEvent, "\(event.metadata.type): the \(what) has \(text.utf8.count) bytes, at most 255 go")
      }
    }
  }

  /// What the row counts in bounds: the bytes of body and headers.
  var size: Int64 { Int64(event.body.count + (headers?.utf8.count ?? 0)) }

  static let columns = """
    position, exchange, type, id, own_id, source, time, recorded, key, subject, correlation_id, causation_id, traceparent, \
    tracestate, baggage, content_type, routing_key, expiry, headers, body
    """
  static let columnCount: Int32 = 20
  private static let places = Array(repeating: "?", count: Int(columnCount)).joined(separator: ", ")

  static let insertOutbox = "INSERT INTO warren_outbox VALUES (\(places))"
  static let insertEvent = "INSERT INTO warren_events VALUES (\(places), ?, ?)"
  static let insertScheduled = "INSERT INTO warren_scheduled VALUES (\(places), ?)"

  /// `position` nil lets SQLite give one. What is not public has no exchange.
  func bind(to statement: RawStatement, position: Int64?, recordedAt: Int64, isPublic: Bool = true) {
    let metadata = event.metadata
    statement.bind(1, position)
    statement.bind(2, isPublic ? EntityNames.exchange(of: metadata.type) : nil)
    statement.bind(3, metadata.type.name)
    statement.bind(4, metadata.id?.text)
    statement.bind(5, event.hasOwnID ? 1 : 0)
    statement.bind(6, metadata.source)
    statement.bind(7, metadata.time?.milliseconds)
    statement.bind(8, recordedAt)
    statement.bind(9, metadata.key)
    statement.bind(10, metadata.subject)
    statement.bind(11, metadata.correlationID)
    statement.bind(12, metadata.causationID)
    statement.bind(13, metadata.trace?.traceparent)
    statement.bind(14, metadata.trace?.tracestate)
    statement.bind(15, metadata.trace?.baggage)
    statement.bind(16, metadata.contentType)
    statement.bind(17, event.routingKey)
    statement.bind(
      18, event.expiry.map { $0.components.seconds * 1000 + $0.components.attoseconds / 1_000_000_000_000_000 })
    statement.bind(19, headers)
    statement.bind(20, event.body)
  }

  /// The event in the current row of a statement that selects ``columns``.
  /// - Parameter isChecked: names are taken as they were checked when they were stored, which is half of the work. Not for what
  ///   goes to a broker.
  static func event(_ row: RawStatement, isChecked: Bool = false) throws -> EncodedEvent {
    let type = row.text(2) ?? ""
    let metadata = try metadata(
      row, type: isChecked ? try EventType.known(type) : try EventType(type), isChecked: isChecked)
    return EncodedEvent(
      metadata: metadata, body: row.data(19), routingKey: row.text(16),
      expiry: row.optionalInt(17).map { .milliseconds($0) }, hasOwnID: row.int(4) != 0)
  }

  static func metadata(_ row: some EventColumns, type: EventType, isChecked: Bool) throws -> EventMetadata {
    let id = row.text(3) ?? ""
    let trace = TraceContext(traceparent: row.text(12), tracestate: row.text(13), baggage: row.text(14))
    return EventMetadata(
      id: isChecked ? try EventID.known(id) : try EventID(id), type: type, source: row.text(5),
      time: row.optionalInt(6).map { Date(milliseconds: $0) }, recordedAt: Date(milliseconds: row.int(7)),
      key: row.text(8), subject: row.text(9), correlationID: row.text(10), causationID: row.text(11),
      trace: trace.isEmpty ? nil : trace, contentType: row.text(15), contentEncoding: nil, declaredType: nil,
      headers: try StoredHeaders.headers(row.text(18)))
  }
}

/// Where the columns of an event are read from, by their place in ``EventRow/columns``.
protocol EventColumns {
  func text(_ at: Int32) -> String?
  func int(_ at: Int32) -> Int64
  func optionalInt(_ at: Int32) -> Int64?
}

extension RawStatement: EventColumns {}
