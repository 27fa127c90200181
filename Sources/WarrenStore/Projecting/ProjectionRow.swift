import GRDB
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// One version of a projection as the file knows it.
struct ProjectionRow: Sendable {
  enum Kind: String { case inline, async }
  enum State: String {
    case building
    /// The one that readers see.
    case live
  }
  var name: String
  var version: Int
  var kind: Kind
  var state: State
  /// Of a first version: events up to here were there before it, and it says nothing about them to others.
  var target: Int64
  var tables: [String: String]
  var problem: String?

  var reader: String { Self.reader(name, version) }
  static func reader(_ name: String, _ version: Int) -> String { "projection \(name)/\(version)" }
  var inlineName: String { "\(name)/\(version)" }

  static func all(_ name: String? = nil, _ db: Database) throws -> [ProjectionRow] {
    try Row.fetchAll(
      db, sql: "SELECT * FROM warren_projections WHERE name = ?1 OR ?1 IS NULL ORDER BY name, version",
      arguments: [name]
    ).map { row in
      guard let kind = Kind(rawValue: row["kind"]), let state = State(rawValue: row["state"]) else {
        throw StoreError(.corrupted, "a row of warren_projections cannot be read: restore the file from a copy")
      }
      let tables = try JSONDecoder().decode([String: String].self, from: Data((row["tables"] as String).utf8))
      return ProjectionRow(
        name: row["name"], version: row["version"], kind: kind, state: state, target: row["target"], tables: tables,
        problem: row["problem"])
    }
  }

  static func live(_ name: String, _ db: Database) throws -> ProjectionRow? {
    try all(name, db).first { $0.state == .live }
  }

  static func find(_ name: String, _ version: Int, _ db: Database) throws -> ProjectionRow? {
    try all(name, db).first { $0.version == version }
  }

  func write(_ db: Database) throws {
    let tables = String(decoding: try JSONEncoder().encode(tables), as: UTF8.self)
    try db.execute(
      sql: "INSERT OR REPLACE INTO warren_projections VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      arguments: [
        name, version, kind.rawValue, state.rawValue, target, tables, problem, Int64(wallClockMilliseconds()),
      ])
  }

  /// Removes it with its tables.
  func drop(_ db: Database) throws {
    for real in try Self.childrenFirst(tables.values.sorted(), db) {
      try db.execute(sql: "DROP TABLE \(Self.quoted(real))")
    }
    try db.execute(
      sql: "DELETE FROM warren_projections WHERE name = ? AND version = ?", arguments: [name, version])
    try ReaderCheckpoint.remove(reader, db)
    try ReaderInterest.remove(reader, db)
  }

  /// Its tables get the names that readers know. Indexes keep theirs, which nobody uses.
  mutating func takeNames(_ db: Database) throws {
    // Views and triggers of the service's own speak of the names, and mean the new tables from now on. SQLite would refuse the
    // rename, as just now there is no table of the name.
    let isLegacy = try Bool.fetchOne(db, sql: "PRAGMA legacy_alter_table") ?? false
    let hasOthers = try String.fetchAll(db, sql: "SELECT tbl_name FROM sqlite_master WHERE type IN ('view', 'trigger')")
      .contains { !tables.values.contains($0) }
    if hasOthers, !isLegacy { try db.execute(sql: "PRAGMA legacy_alter_table = ON") }
    defer { if hasOthers, !isLegacy { try? db.execute(sql: "PRAGMA legacy_alter_table = OFF") } }
    for (name, real) in tables where name != real {
      guard try Self.kind(of: real, db) == "table" else { continue }
      guard try Self.kind(of: name, db) == nil else {
        throw StoreError(
          .invalidConfiguration,
          "the projection \(self.name) wants to call a table \"\(name)\", and the file has one that is not its own")
      }
      try db.execute(sql: "ALTER TABLE \(Self.quoted(real)) RENAME TO \(Self.quoted(name))")
      tables[name] = name
    }
  }

  /// A table that another one refers to goes after it, or its rows could not go.
  private static func childrenFirst(_ names: [String], _ db: Database) throws -> [String] {
    var left = try names.filter { try kind(of: $0, db) == "table" }
    var order: [String] = []
    while !left.isEmpty {
      let parents = try left.flatMap { child in
        try String.fetchAll(db, sql: "SELECT \"table\" FROM pragma_foreign_key_list(?)", arguments: [child])
          .filter { $0 != child }
      }
      let next = left.firstIndex { !parents.contains($0) } ?? 0
      order.append(left.remove(at: next))
    }
    return order
  }

  private static func kind(of name: String, _ db: Database) throws -> String? {
    try String.fetchOne(db, sql: "SELECT type FROM sqlite_master WHERE name = ?", arguments: [name])
  }

  static func quoted(_ name: String) -> String { "\"\(name.replacing("\"", with: "\"\""))\"" }
}
