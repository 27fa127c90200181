import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The columns of an event as SQLite gave them, in one piece of memory: most readers want the body and nothing else, and the
/// strings beside it cost more than reading the row.
final class StoredColumns: EventColumns, Sendable {
  /// Those with text or bytes in them, in the order in which they stand in the memory.
  private static let texts: [Int32] = [3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19]
  private static let body = texts.count - 1
  private static let lengths = texts.count * MemoryLayout<Int32>.stride

  private let time: Int64?
  private let recorded: Int64
  // Written once, in here: the lengths, -1 for null, and then what is so long.
  private nonisolated(unsafe) let memory: UnsafeRawBufferPointer

  /// The current row of a statement that selects ``RecordedEvent/columns``.
  init(_ row: RawStatement) {
    time = row.optionalInt(6)
    recorded = row.int(7)
    memory = withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer?.self, capacity: Self.texts.count) { found in
      var size = Self.lengths
      for (place, column) in Self.texts.enumerated() {
        let bytes = row.bytes(column)
        found.initializeElement(at: place, to: bytes)
        size += bytes?.count ?? 0
      }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: MemoryLayout<Int32>.alignment)
      var at = Self.lengths
      for place in 0..<Self.texts.count {
        let bytes = found[place]
        memory.storeBytes(of: Int32(bytes?.count ?? -1), toByteOffset: place * 4, as: Int32.self)
        guard let bytes else { continue }
        UnsafeMutableRawBufferPointer(rebasing: memory[at...]).copyMemory(from: bytes)
        at += bytes.count
      }
      return UnsafeRawBufferPointer(memory)
    }
  }

  deinit { memory.deallocate() }

  private func bytes(_ place: Int) -> UnsafeRawBufferPointer? {
    var at = Self.lengths
    for earlier in 0..<place { at += max(0, length(earlier)) }
    let count = length(place)
    return count < 0 ? nil : UnsafeRawBufferPointer(rebasing: memory[at..<(at + count)])
  }

  private func length(_ place: Int) -> Int { Int(memory.load(fromByteOffset: place * 4, as: Int32.self)) }

  func text(_ at: Int32) -> String? {
    Self.texts.firstIndex(of: at).flatMap { bytes($0) }.map { String(decoding: $0, as: UTF8.self) }
  }

  func optionalInt(_ at: Int32) -> Int64? { at == 6 ? time : recorded }
  func int(_ at: Int32) -> Int64 { recorded }

  var body: Data { bytes(Self.body).map { Data($0) } ?? Data() }
  var bodySize: Int { max(0, length(Self.body)) }
  /// False for a row that says what has to be looked at before it is used.
  var isPlain: Bool { length(0) > 0 && length(Self.body - 1) < 0 }
}
