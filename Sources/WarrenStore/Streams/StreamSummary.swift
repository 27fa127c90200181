import GRDB
public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// One stream in a list.
public struct StreamSummary: Sendable, Hashable {
  /// Its name.
  public let stream: StreamName
  /// The version of its last event, and so the number of its events.
  public let version: Int64
  /// The position of its last event.
  public let position: LogPosition
  /// When its last event was recorded.
  public let recordedAt: Date

  /// From name to name through the index, so that long streams cost no more than short ones.
  static func read(prefix: String, after: StreamName?, limit: Int, _ db: Database) throws -> [StreamSummary] {
    let next = try RawStatement("SELECT min(stream) FROM warren_events WHERE stream > ?", db)
    let first = try RawStatement("SELECT min(stream) FROM warren_events WHERE stream >= ?", db)
    let last = try RawStatement(
      "SELECT version, position, recorded FROM warren_events WHERE stream = ? ORDER BY version DESC LIMIT 1", db)
    var found: [StreamSummary] = []
    var name = after?.name
    while found.count < limit {
      let select = name == nil ? first : next
      select.bind(1, name ?? prefix)
      guard try select.step() else { break }
      let stream = select.text(0)
      select.reset()
      guard let stream else { break }
      guard stream.utf8.starts(with: prefix.utf8) else {
        // Behind `after` and still before the prefix.
        guard stream.utf8.lexicographicallyPrecedes(prefix.utf8) else { break }
        name = nil
        continue
      }
      last.bind(1, stream)
      guard try last.step() else { break }
      found.append(
        StreamSummary(
          stream: StreamName(trusted: stream), version: last.int(0), position: LogPosition(rawValue: last.int(1)),
          recordedAt: Date(milliseconds: last.int(2))))
      last.reset()
      name = stream
    }
    return found
  }
}
