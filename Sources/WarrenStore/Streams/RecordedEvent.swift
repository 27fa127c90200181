public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// An event of a stream as it stands in the log. Its body is decoded when somebody asks for the value.
public struct RecordedEvent: Sendable, Hashable {
  /// Its place in the whole log.
  public let position: LogPosition
  /// The stream.
  public let stream: StreamName
  /// Its place in the stream. The first event has version 1.
  public let version: Int64
  /// When it was recorded, by the clock of the process that recorded it.
  public let recordedAt: Date
  /// Type, id, source, time, key, correlation, causation and headers.
  public let metadata: EventMetadata
  /// The event's JSON.
  public let body: Data
  /// The relay sends it, or has sent it.
  public let isPublic: Bool
  /// The id was made by Warren.
  let hasOwnID: Bool

  /// The event's type.
  public var type: EventType { metadata.type }
  /// When it happened.
  public var time: Date { metadata.time ?? recordedAt }
  /// Who did it, as ``AppendOptions/actor`` said.
  public var actor: String? { metadata.headers[AppendOptions.actorHeader]?.string }

  /// True when the event is one of the types of `E`, old names of them included.
  public func isOne<E: Event>(of type: E.Type) -> Bool { E.readTypes.contains(metadata.type) }

  /// The event as a value.
  /// - Throws: ``StoreError`` with code ``StoreError/Code/undecodable``, which names the event.
  public func decoded<E: Event>(as type: E.Type = E.self) throws(StoreError) -> E {
    do throws(WarrenError) {
      return try E.read(type: metadata.type, body: body, metadata: metadata)
    } catch {
      throw StoreError(.undecodable, "event \(version) of stream \(stream), position \(position): \(error.message)")
    }
  }

  init(
    _ event: EncodedEvent, _ position: Int64, _ stream: StreamName, _ version: Int64, recordedAt: Int64, isPublic: Bool
  ) {
    self.position = LogPosition(rawValue: position)
    self.stream = stream
    self.version = version
    self.recordedAt = Date(milliseconds: recordedAt)
    metadata = event.metadata
    body = event.body
    self.isPublic = isPublic
    hasOwnID = event.hasOwnID
  }

  static let columns = EventRow.columns + ", stream, version"

  /// The current row of a statement that selects ``columns``.
  init(_ row: RawStatement) throws {
    let stream = StreamName(trusted: row.text(EventRow.columnCount) ?? "")
    self.init(
      try EventRow.event(row, isChecked: true), row.int(0), stream, row.int(EventRow.columnCount + 1),
      recordedAt: row.int(7),
      isPublic: !row.isNull(1))
  }
}

extension StreamName {
  /// A name that comes out of the file.
  init(trusted name: String) { self.name = name }
}
