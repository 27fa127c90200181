import GRDB
public import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a look at all streams of a log has found.
public struct LogVerification: Sendable, Hashable {
  /// How many events there are.
  public internal(set) var events = 0
  /// How many streams.
  public internal(set) var streams = 0
  /// Bytes of all bodies.
  public internal(set) var bytes = 0
  /// The last position of an event.
  public internal(set) var last: LogPosition?
  /// A number over all events in their order: two files with the same events have the same, in every version of Warren.
  public internal(set) var checksum = ""
  /// What is wrong, at most a hundred lines; empty: nothing.
  public internal(set) var problems: [String] = []
}

extension EventLog {
  /// Reads all streams and checks that versions have no gaps and grow with the positions, that bodies are JSON, that nothing
  /// is behind the head of the log, and that SQLite finds the file whole. In short reads, beside everything else; only SQLite's own
  /// check at the end is a long one, during which the write-ahead log grows.
  /// - Throws: ``StoreError`` when the file cannot be read.
  public func verify(onProgress: (Int) -> Void = { _ in }) async throws -> LogVerification {
    var result = LogVerification()
    var hash = StableHash()
    var versions: [StreamName: Int64] = [:]
    let decoder = JSONDecoder()
    func isJSON(_ body: Data) -> Bool {
      (try? Nesting.check(body)) != nil && (try? decoder.decode(AnyJSON.self, from: body)) != nil
    }
    func complain(_ text: String) {
      if result.problems.count < 100 { result.problems.append(text) }
    }
    for try await page in events().pages {
      for event in page {
        let before = versions[event.stream] ?? 0
        if event.version != before + 1 {
          complain(
            "stream \(event.stream): behind version \(before) comes version \(event.version), position \(event.position)"
          )
        }
        versions[event.stream] = event.version
        if !isJSON(event.body) {
          complain("stream \(event.stream), version \(event.version): the body is not JSON")
        }
        hash.combine(
          "\(event.position) \(event.stream) \(event.version) \(event.type) \(event.metadata.id?.text ?? "")")
        hash.combine(event.body)
        result.events += 1
        result.bytes += event.body.count
      }
      result.last = page.last?.position
      onProgress(result.events)
    }
    result.streams = versions.count
    result.checksum = String(hash.value, radix: 16)
    let head = try await head().rawValue
    let check: [String]
    do {
      // One long read, which nobody else's reading waits for.
      check = try await database.read { try String.fetchAll($0, sql: "PRAGMA quick_check(20)") }
    } catch {
      throw StoreError(error, doing: "checking the file")
    }
    if let last = result.last, last.rawValue > head { complain("the head is \(head) and the last event is at \(last)") }
    if check != ["ok"] { check.forEach(complain) }
    return result
  }
}

private struct AnyJSON: Decodable {
  init(from decoder: any Decoder) throws { _ = try decoder.singleValueContainer() }
}
