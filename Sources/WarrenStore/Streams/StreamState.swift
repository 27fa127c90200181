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

/// Reads streams into states.
enum StreamFold {
  private static let pageRows = 1000

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
      let type = try EventType.known(select.text(1) ?? "")
      do throws(WarrenError) {
        let headers = select.isNull(5) ? nil : select.text(5)
        folded.state.evolve(
          try D.Event.read(type: type, body: select.data(2), metadata: metadata(type, headers)))
      } catch {
        select.reset()
        throw StoreError(.undecodable, "event \(version) of stream \(stream): \(error.message)")
      }
      folded.version = version
    }
    return folded
  }

  private static func metadata(_ type: EventType, _ headers: String?) -> EventMetadata {
    EventMetadata(id: nil, type: type, headers: (try? StoredHeaders.headers(headers)) ?? [:])
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
    guard let found, let state = try? JSONDecoder().decode(S.self, from: found.state) as? D else { return nil }
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
