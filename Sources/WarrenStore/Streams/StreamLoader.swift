import GRDB
import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a stream's state is made of, as it stands in the file.
struct LoadedStream: Sendable {
  struct Event: Sendable {
    var version: Int64
    var type: String
    var body: Data
    /// As stored; nil: none.
    var headers: String?
  }
  /// What the caller's request came to before.
  var known: Appended?
  var snapshot: (version: Int64, state: Data)?
  var events: [Event] = []
}

/// Reads streams for many callers in one look at the file: to begin and end a read costs more than the ten events of a
/// small stream. The events are decoded by the callers, each on its own task.
final class StreamLoader: Sendable {
  struct Wish: Sendable {
    var stream: StreamName
    var request: String?
    /// Of the snapshot that is of use.
    var snapshot: (kind: String, format: Int)?
  }
  private struct Waiting: Sendable {
    var wish: Wish
    var continuation: CheckedContinuation<Result<LoadedStream, any Error>, Never>
  }
  private struct State {
    var waiting: [Waiting] = []
    var isReading = false
  }
  /// Each read is a short one.
  private static let most = 64
  private let state = Lock(State())

  func load(_ wish: Wish, from log: EventLog) async throws -> LoadedStream {
    try await withCheckedContinuation { continuation in
      let isFirst = state.withLock { state in
        state.waiting.append(Waiting(wish: wish, continuation: continuation))
        defer { state.isReading = true }
        return !state.isReading
      }
      // Not on the caller's task: its cancellation would end the others' read.
      if isFirst { Task.detached { [self] in await read(log) } }
    }.get()
  }

  private func read(_ log: EventLog) async {
    while true {
      let group = state.withLock { state in
        let group = Array(state.waiting.prefix(Self.most))
        state.waiting.removeFirst(group.count)
        state.isReading = !group.isEmpty
        return group
      }
      if group.isEmpty { return }
      var results: [Result<LoadedStream, any Error>]
      do {
        results = try await log.reading { db in
          group.map { waiting in Result { try Self.look(waiting.wish, db) } }
        }
      } catch {
        results = group.map { _ in .failure(error) }
      }
      for (waiting, result) in zip(group, results) { waiting.continuation.resume(returning: result) }
    }
  }

  static func look(_ wish: Wish, _ db: Database) throws -> LoadedStream {
    var loaded = LoadedStream()
    if let request = wish.request { loaded.known = try StreamWriter.known(request, db) }
    if let (kind, format) = wish.snapshot {
      loaded.snapshot = try Snapshots.read(wish.stream, kind: kind, format: format, notAfter: .max, db)
    }
    try read(wish.stream, after: loaded.snapshot?.version ?? 0, into: &loaded, db)
    return loaded
  }

  static func read(_ stream: StreamName, after version: Int64, into loaded: inout LoadedStream, _ db: Database) throws {
    let select = try RawStatement(
      "SELECT version, type, body, headers FROM warren_events WHERE stream = ? AND version > ? ORDER BY version", db)
    select.bind(1, stream.name)
    select.bind(2, version)
    while try select.step() {
      loaded.events.append(
        .init(
          version: select.int(0), type: select.text(1) ?? "", body: select.data(2),
          headers: select.isNull(3) ? nil : select.text(3)))
    }
  }
}
