public import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// An event of a stream as it stands in the log. Its metadata is read, and its body decoded, when somebody asks.
public struct RecordedEvent: Sendable, Hashable {
  // One reference: pages of events go through many hands.
  private let row: Row

  /// Its place in the whole log.
  public var position: LogPosition { LogPosition(rawValue: row.position) }
  /// The stream.
  public var stream: StreamName { row.stream }
  /// Its place in the stream. The first event has version 1.
  public var version: Int64 { row.version }
  /// When it was recorded, by the clock of the process that recorded it.
  public var recordedAt: Date { Date(milliseconds: row.recordedAt) }
  /// Type, id, source, time, key, correlation, causation and headers.
  public var metadata: EventMetadata { row.metadata }
  /// The event's JSON.
  public var body: Data { row.body }
  /// The relay sends it, or has sent it.
  public var isPublic: Bool { row.isPublic }
  /// The id was made by Warren.
  var hasOwnID: Bool { row.hasOwnID }
  /// The bytes of ``body``.
  var bodySize: Int { row.bodySize }

  /// The event's type.
  public var type: EventType { row.type }
  /// When it happened.
  public var time: Date { metadata.time ?? recordedAt }
  /// Who did it, as ``AppendOptions/actor`` said.
  public var actor: String? { metadata.headers[AppendOptions.actorHeader]?.string }

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
    row = Row(
      position, stream, version, event.metadata.type, recordedAt: recordedAt, isPublic: isPublic,
      hasOwnID: event.hasOwnID, .event(event.body), event.metadata)
  }

  static let columns = EventRow.columns + ", stream, version"

  /// The current row of a statement that selects ``columns``.
  /// - Parameter last: the event before it in a page, which is often of the same type and stream.
  init(_ row: RawStatement, after last: RecordedEvent? = nil) throws {
    let columns = StoredColumns(row)
    let type =
      if let last, row.isText(2, last.type.name) { last.type } else { try EventType.known(row.text(2) ?? "") }
    let stream =
      if let last, row.isText(EventRow.columnCount, last.stream.name) {
        last.stream
      } else {
        StreamName(trusted: row.text(EventRow.columnCount) ?? "")
      }
    // What may be wrong is told when the page is read, and not to whoever asks for the metadata.
    let metadata = columns.isPlain ? nil : try EventRow.metadata(columns, type: type, isChecked: true)
    self.row = Row(
      row.int(0), stream, row.int(EventRow.columnCount + 1), type, recordedAt: row.int(7), isPublic: !row.isNull(1),
      hasOwnID: row.int(4) != 0, .columns(columns), metadata)
  }

  /// Field by field.
  public static func == (a: RecordedEvent, b: RecordedEvent) -> Bool {
    a.row === b.row
      || a.position == b.position && a.stream == b.stream && a.version == b.version && a.recordedAt == b.recordedAt
        && a.isPublic == b.isPublic && a.hasOwnID == b.hasOwnID && a.metadata == b.metadata && a.body == b.body
  }

  /// By the place in the log.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(row.position)
    hasher.combine(row.version)
  }
}

private final class Row: Sendable {
  enum Content: Sendable {
    case columns(StoredColumns)
    case event(Data)
  }
  let position: Int64
  let stream: StreamName
  let version: Int64
  let type: EventType
  let recordedAt: Int64
  let isPublic: Bool
  let hasOwnID: Bool
  private let content: Content
  private let known: InlineLock<EventMetadata?>

  init(
    _ position: Int64, _ stream: StreamName, _ version: Int64, _ type: EventType, recordedAt: Int64, isPublic: Bool,
    hasOwnID: Bool, _ content: Content, _ metadata: EventMetadata?
  ) {
    self.position = position
    self.stream = stream
    self.version = version
    self.type = type
    self.recordedAt = recordedAt
    self.isPublic = isPublic
    self.hasOwnID = hasOwnID
    self.content = content
    known = InlineLock(metadata)
  }

  var body: Data {
    switch content {
    case .columns(let columns): columns.body
    case .event(let body): body
    }
  }

  var bodySize: Int {
    switch content {
    case .columns(let columns): columns.bodySize
    case .event(let body): body.count
    }
  }

  var metadata: EventMetadata {
    known.withLock { known in
      if let known { return known }
      var metadata = EventMetadata(id: nil, type: type)
      if case .columns(let columns) = content {
        // A plain row has nothing that could be wrong.
        metadata = (try? EventRow.metadata(columns, type: type, isChecked: true)) ?? metadata
      }
      known = metadata
      return metadata
    }
  }
}

extension StreamName {
  /// A name that comes out of the file.
  init(trusted name: String) { self.name = name }
}
