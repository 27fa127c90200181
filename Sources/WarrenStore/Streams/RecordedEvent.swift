public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// An event of a stream as it stands in the log. Its metadata is read, and its body decoded, when somebody asks.
public struct RecordedEvent: Sendable, Hashable {
  // One reference: pages of events go through many hands. Unsafe, because the class above it may be changed and this is not.
  private nonisolated(unsafe) let row: StoredRow

  /// Its place in the whole log.
  public var position: LogPosition { LogPosition(rawValue: row.fields.position) }
  /// The stream.
  public var stream: StreamName { row.fields.stream }
  /// Its place in the stream. The first event has version 1.
  public var version: Int64 { row.fields.version }
  /// When it was recorded, by the clock of the process that recorded it.
  public var recordedAt: Date { Date(milliseconds: row.fields.recordedAt) }
  /// Type, id, source, time, key, correlation, causation and headers. Put together anew each time: for one that is asked for
  /// several things, keep it.
  public var metadata: EventMetadata { row.metadata }
  /// The event's JSON.
  public var body: Data { row.body }
  /// The relay sends it, or has sent it.
  public var isPublic: Bool { row.fields.isPublic }
  /// The id was made by Warren.
  var hasOwnID: Bool { row.fields.hasOwnID }
  /// The bytes of ``body``.
  var bodySize: Int { row.bodySize }

  /// The event's type.
  public var type: EventType { row.fields.type }
  /// When it happened.
  public var time: Date { row.fields.time.map { Date(milliseconds: $0) } ?? recordedAt }
  /// Who did it, as ``AppendOptions/actor`` said.
  public var actor: String? { row.fields.metadata?.headers[AppendOptions.actorHeader]?.string }

  /// True when the event is one of the types of `E`, old names of them included.
  public func isOne<E: Event>(of type: E.Type) -> Bool { E.readTypes.contains(self.type) }

  /// The event as a value.
  /// - Throws: ``StoreError`` with code ``StoreError/Code/undecodable``, which names the event.
  public func decoded<E: Event>(as type: E.Type = E.self) throws(StoreError) -> E {
    do throws(WarrenError) {
      return try E.read(type: self.type, body: body, metadata: metadata)
    } catch {
      throw StoreError(.undecodable, "event \(version) of stream \(stream), position \(position): \(error.message)")
    }
  }

  init(
    _ event: EncodedEvent, _ position: Int64, _ stream: StreamName, _ version: Int64, recordedAt: Int64, isPublic: Bool
  ) {
    row = .make(
      .init(
        position: position, stream: stream, version: version, type: event.metadata.type, recordedAt: recordedAt,
        time: event.metadata.time?.milliseconds, isPublic: isPublic, hasOwnID: event.hasOwnID,
        metadata: event.metadata, body: event.body))
  }

  static let columns = EventRow.columns + ", stream, version"

  /// The current row of a statement that selects ``columns``.
  /// - Parameter last: the event before it in a page, which is often of the same type and stream.
  init(_ row: RawStatement, after last: RecordedEvent? = nil) throws {
    let type =
      if let last, row.isText(2, last.type.name) { last.type } else { try EventType.known(row.text(2) ?? "") }
    let stream =
      if let last, row.isText(EventRow.columnCount, last.stream.name) {
        last.stream
      } else {
        StreamName(trusted: row.text(EventRow.columnCount) ?? "")
      }
    var fields = StoredRow.Fields(
      position: row.int(0), stream: stream, version: row.int(EventRow.columnCount + 1), type: type,
      recordedAt: row.int(7), time: row.optionalInt(6), isPublic: !row.isNull(1), hasOwnID: row.int(4) != 0)
    // What may be wrong is told when the page is read, and not to whoever asks for the metadata.
    if !row.isNull(18) || row.byteCount(3) == 0 {
      fields.metadata = try EventRow.metadata(row, type: type, isChecked: true)
    }
    self.row = .make(fields, row)
  }

  /// Field by field.
  public static func == (a: RecordedEvent, b: RecordedEvent) -> Bool {
    a.row === b.row
      || a.position == b.position && a.stream == b.stream && a.version == b.version && a.recordedAt == b.recordedAt
        && a.isPublic == b.isPublic && a.hasOwnID == b.hasOwnID && a.metadata == b.metadata && a.body == b.body
  }

  /// By the place in the log.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(row.fields.position)
    hasher.combine(row.fields.version)
  }
}

extension StreamName {
  /// A name that comes out of the file.
  init(trusted name: String) { self.name = name }
}
