import GRDB
public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// A moment in the life of a stream.
public enum StreamMoment: Sendable, Hashable {
  /// Now.
  case latest
  /// Behind the event with this version.
  case version(Int64)
  /// Behind what the log had up to this position.
  case position(LogPosition)
  /// Behind the events that had happened by then: up to the first that happened later. Their ``RecordedEvent/time`` counts.
  case date(Date)
}

/// What a stream's events have made of a decider.
public struct Folded<D: Decider>: Sendable {
  /// The state.
  public internal(set) var state: D
  /// The version of the last event in it; 0: none.
  public internal(set) var version: Int64
}

extension Folded {
  mutating func add(_ event: LoadedStream.Event, of stream: StreamName) throws(StoreError) {
    do throws(WarrenError) {
      let type = try EventType.known(event.type)
      state.evolve(try D.Event.read(type: type, body: event.body, metadata: event.metadata(type)))
    } catch {
      throw StoreError(.undecodable, "event \(event.version) of stream \(stream): \(error.message)")
    }
    version = event.version
  }
}

extension LoadedStream.Event {
  /// As much of it as upcasters ask for.
  fileprivate func metadata(_ type: EventType) -> EventMetadata {
    EventMetadata(id: nil, type: type, headers: (try? StoredHeaders.headers(headers)) ?? [:])
  }
}

/// Reads streams into states.
enum StreamFold {
  /// The state of a stream, from its last snapshot where there is a usable one.
  static func fold<D: Decider>(
    _ type: D.Type, _ stream: StreamName, at moment: StreamMoment, useSnapshots: Bool = true, _ db: Database
  ) throws -> Folded<D> {
    var folded = Folded(state: D(), version: 0)
    if useSnapshots, let found = try snapshot(D.self, stream, moment, db) { folded = found }
    let select = try statement(stream, from: folded.version, moment, db)
    while try select.step() {
      let version = select.int(0)
      if case .date(let date) = moment, select.optionalInt(3) ?? select.int(4) > date.milliseconds {
        select.reset()
        break
      }
      do throws(StoreError) {
        try folded.add(
          .init(
            version: version, type: select.text(1) ?? "", body: select.data(2),
            headers: select.isNull(5) ? nil : select.text(5)), of: stream)
      } catch {
        select.reset()
        throw error
      }
    }
    return folded
  }

  /// The state of what was loaded; nil when its snapshot cannot be read, and the events before it are needed.
  static func fold<D: Decider>(_ type: D.Type, _ loaded: LoadedStream, of stream: StreamName) throws -> Folded<D>? {
    var folded = Folded(state: D(), version: 0)
    if let snapshot = loaded.snapshot {
      guard let kind = D.self as? any SnapshottingDecider.Type, let state = decoded(kind, snapshot.state, as: D.self)
      else { return nil }
      folded = Folded(state: state, version: snapshot.version)
    }
    for event in loaded.events { try folded.add(event, of: stream) }
    return folded
  }

  private static func decoded<S: SnapshottingDecider, D: Decider>(_ kind: S.Type, _ state: Data, as: D.Type) -> D? {
    try? JSONDecoder().decode(S.self, from: state) as? D
  }

  /// Of the snapshots that can serve a decider.
  static func snapshotKind<D: Decider>(_ type: D.Type) -> (kind: String, format: Int)? {
    guard let kind = D.self as? any SnapshottingDecider.Type else { return nil }
    return (kind.category, kind.snapshotVersion)
  }

  /// Only what folding needs: reading an event's twenty columns costs more than decoding a small body.
  private static func statement(
    _ stream: StreamName, from version: Int64, _ moment: StreamMoment, _ db: Database
  ) throws -> RawStatement {
    var bound = ""
    switch moment {
    case .latest, .date: break
    case .version: bound = "AND version <= ?3"
    case .position: bound = "AND position <= ?3"
    }
    let select = try RawStatement(
      """
      SELECT version, type, body, time, recorded, headers FROM warren_events
      WHERE stream = ?1 AND version > ?2 \(bound) ORDER BY version
      """, db)
    select.bind(1, stream.name)
    select.bind(2, version)
    switch moment {
    case .latest, .date: break
    case .version(let version): select.bind(3, version)
    case .position(let position): select.bind(3, position.rawValue)
    }
    return select
  }

  /// Dates and positions of the events in a snapshot are not known, so only a version can be asked for.
  private static func snapshot<D: Decider>(
    _ type: D.Type, _ stream: StreamName, _ moment: StreamMoment, _ db: Database
  ) throws -> Folded<D>? {
    guard let kind = D.self as? any SnapshottingDecider.Type else { return nil }
    switch moment {
    case .latest: return try stored(kind, stream, .max, db)
    case .version(let version): return try stored(kind, stream, version, db)
    case .position, .date: return nil
    }
  }

  private static func stored<S: SnapshottingDecider, D: Decider>(
    _ kind: S.Type, _ stream: StreamName, _ version: Int64, _ db: Database
  ) throws -> Folded<D>? {
    let found = try Snapshots.read(stream, kind: S.category, format: S.snapshotVersion, notAfter: version, db)
    // One that cannot be read is passed over.
    guard let found, let state = decoded(kind, found.state, as: D.self) else { return nil }
    return Folded(state: state, version: found.version)
  }

  /// The snapshot that the policy asks for when a stream comes from one version to another.
  static func due<D: Decider>(_ state: D, _ stream: StreamName, from old: Int64, to new: Int64) -> StoredSnapshot? {
    guard let state = state as? any SnapshottingDecider else { return nil }
    return due(snapshot: state, stream, from: old, to: new)
  }

  private static func due<S: SnapshottingDecider>(
    snapshot state: S, _ stream: StreamName, from old: Int64, to new: Int64
  ) -> StoredSnapshot? {
    let every = Int64(max(1, S.snapshotEvery))
    guard new / every > old / every, let bytes = try? JSONEncoder().encode(state) else { return nil }
    return StoredSnapshot(
      stream: stream, kind: S.category, format: S.snapshotVersion, version: new, state: bytes)
  }
}
