public import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What an append came to.
public struct Appended: Sendable, Hashable {
  /// The version of each stream's last event now, in the order of the append.
  public internal(set) var versions: [StreamVersion]
  /// The position of the first event; nil when there was none to append.
  public internal(set) var first: LogPosition?
  /// The position of the last event; nil when there was none to append.
  public internal(set) var last: LogPosition?
  /// True when the request was appended before: this is what it came to then.
  public internal(set) var isRepeat = false

  /// A stream and a version of it.
  public struct StreamVersion: Sendable, Hashable {
    /// The stream.
    public let stream: StreamName
    /// The version of its last event; 0: it has none.
    public let version: Int64
  }

  /// The version of the first stream's last event: for an append to one stream, the stream's.
  public var version: Int64 { versions.first?.version ?? 0 }

  /// The version of one of the streams.
  public func version(of stream: StreamName) -> Int64? { versions.first { $0.stream == stream }?.version }

  /// Where a reader is that has seen everything of this append.
  public var position: LogPosition { last ?? LogPosition(rawValue: 0) }
}

extension Appended {
  /// The versions as text for the table of requests.
  var stored: String {
    let pairs = versions.map { [$0.stream.name, String($0.version)] }
    return (try? JSONEncoder().encode(pairs)).map { String(decoding: $0, as: UTF8.self) } ?? "[]"
  }

  init(stored: String, first: Int64?, last: Int64?) throws {
    let pairs = try JSONDecoder().decode([[String]].self, from: Data(stored.utf8))
    versions = try pairs.map { pair in
      guard pair.count == 2, let version = Int64(pair[1]) else {
        throw StoreError(.corrupted, "a row of warren_requests cannot be read: restore the file from a copy")
      }
      return StreamVersion(stream: try StreamName(pair[0]), version: version)
    }
    self.first = first.map { LogPosition(rawValue: $0) }
    self.last = last.map { LogPosition(rawValue: $0) }
    isRepeat = true
  }
}
