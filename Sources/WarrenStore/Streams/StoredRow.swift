import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// An event as SQLite gave it, in one piece of memory: most readers want the body and nothing else, and the strings beside it
/// cost more than reading the row. One piece and not three, because whoever uses an event frees what another thread made.
///
/// Constant once it is made.
final class StoredRow: ManagedBuffer<StoredRow.Fields, UInt8> {
  struct Fields: Sendable {
    var position: Int64
    var stream: StreamName
    var version: Int64
    var type: EventType
    var recordedAt: Int64
    var time: Int64?
    var isPublic: Bool
    var hasOwnID: Bool
    /// Where it is known already.
    var metadata: EventMetadata?
    /// Nil where it is among the columns.
    var body: Data?
    /// Of the columns with text or bytes in them, -1 for null. The columns themselves stand behind each other.
    var lengths = Lengths(repeating: -1)
  }
  typealias Lengths = InlineArray<12, Int32>

  /// Those with text or bytes in them, the body last.
  private static let columns: InlineArray<12, Int32> = [3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19]
  private static let bodyPlace = 11

  var fields: Fields {
    // Not `header`, which looks whether somebody writes it.
    _read { yield withUnsafeMutablePointerToHeader { $0 }.pointee }
  }

  static func make(_ fields: Fields) -> StoredRow {
    unsafeDowncast(create(minimumCapacity: 0) { _ in fields }, to: self)
  }

  /// With the columns of the current row of a statement that selects ``RecordedEvent/columns``.
  static func make(_ fields: Fields, _ row: RawStatement) -> StoredRow {
    withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: columns.count) { found in
      var fields = fields
      var size = 0
      for place in columns.indices {
        let bytes = row.bytes(columns[place])
        found.initializeElement(at: place, to: bytes ?? UnsafeRawBufferPointer(start: nil, count: 0))
        fields.lengths[place] = bytes.map { Int32($0.count) } ?? -1
        size += bytes?.count ?? 0
      }
      let made = unsafeDowncast(create(minimumCapacity: size) { _ in fields }, to: self)
      made.withUnsafeMutablePointerToElements { memory in
        var rest = UnsafeMutableRawBufferPointer(start: memory, count: size)
        for bytes in found {
          rest.copyMemory(from: bytes)
          rest = UnsafeMutableRawBufferPointer(rebasing: rest[bytes.count...])
        }
      }
      return made
    }
  }

  private func bytes<R>(_ place: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R? {
    withUnsafeMutablePointers { fields, memory in
      let count = Int(fields.pointee.lengths[place])
      guard count >= 0 else { return nil }
      var at = 0
      for earlier in 0..<place { at += max(0, Int(fields.pointee.lengths[earlier])) }
      return body(UnsafeRawBufferPointer(start: memory + at, count: count))
    }
  }

  var body: Data { fields.body ?? bytes(Self.bodyPlace) { Data($0) } ?? Data() }
  var bodySize: Int { fields.body?.count ?? max(0, Int(fields.lengths[Self.bodyPlace])) }

  var metadata: EventMetadata {
    if let known = fields.metadata { return known }
    // Nothing can be wrong with it, or it would have been looked at when it was read.
    return (try? EventRow.metadata(self, type: fields.type, isChecked: true))
      ?? EventMetadata(id: nil, type: fields.type)
  }
}

extension StoredRow: EventColumns {
  func text(_ at: Int32) -> String? {
    Self.columns.indices.first { Self.columns[$0] == at }.flatMap { place in
      bytes(place) { String(decoding: $0, as: UTF8.self) }
    }
  }

  func optionalInt(_ at: Int32) -> Int64? { at == 6 ? fields.time : fields.recordedAt }
  func int(_ at: Int32) -> Int64 { fields.recordedAt }
}
