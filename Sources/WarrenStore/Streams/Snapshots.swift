import GRDB
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Folded states of streams: they save reading, and nothing depends on them.
enum Snapshots {
  /// The last one of a stream, where it is of this format; one with a later version stays.
  static func write(_ snapshot: StoredSnapshot, _ db: Database) throws {
    let insert = try RawStatement(
      """
      INSERT INTO warren_snapshots VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
      format = excluded.format, version = excluded.version, state = excluded.state
      WHERE format <> excluded.format OR version < excluded.version
      """, db)
    insert.bind(1, snapshot.stream.name)
    insert.bind(2, snapshot.kind)
    insert.bind(3, Int64(snapshot.format))
    insert.bind(4, snapshot.version)
    insert.bind(5, snapshot.state)
    _ = try insert.step()
  }

  /// Nil when there is none of this format, or only one from behind `version`.
  static func read(
    _ stream: StreamName, kind: String, format: Int, notAfter version: Int64, _ db: Database
  ) throws -> (version: Int64, state: Data)? {
    let select = try RawStatement(
      "SELECT version, state FROM warren_snapshots WHERE stream = ? AND kind = ? AND format = ? AND version <= ?", db)
    select.bind(1, stream.name)
    select.bind(2, kind)
    select.bind(3, Int64(format))
    select.bind(4, version)
    guard try select.step() else { return nil }
    defer { select.reset() }
    return (select.int(0), select.data(1))
  }
}
