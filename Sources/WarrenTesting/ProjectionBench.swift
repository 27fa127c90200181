import Foundation
public import GRDB
import Warren
public import WarrenStore

/// A projection over a real store in a file of its own, which is gone afterwards.
///
/// ```swift
/// try await given(projection: Balances()) { store in
///   try await store.append([AccountEvent.opened(owner: "Bo"), .deposited(cents: 5)], to: "account-42")
/// } then: { db in
///   let cents = try Int.fetchAll(db, sql: "SELECT cents FROM balances")
///   #expect(cents == [5])
/// }
/// ```
/// The events are applied as they are appended. Afterwards the projection is built once more from the log, and both tables have
/// to agree: one that looks at the clock, or at what it should not remember, is found so.
/// - Parameter history: appends to the store: what has happened.
/// - Parameter check: reads the tables.
/// - Throws: ``SpecificationFailed`` when building anew makes other tables; whatever the arguments throw.
public func given(
  projection: any Projection, _ history: (EventLog) async throws -> Void,
  then check: @escaping @Sendable (Database) throws -> Void
) async throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("warren-testing-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let log = try EventLog(path: folder.appendingPathComponent("log.sqlite").path, source: "warren-testing")
  try await log.add(inline: projection)
  try await history(log)
  try await log.database.read(check)
  let applied = try await log.database.read(tables)
  try await log.drop(projection: projection.name)
  try await log.add(inline: projection)
  let rebuilt = try await log.database.read(tables)
  guard applied == rebuilt else {
    let names = Set(applied.keys).union(rebuilt.keys).filter { applied[$0] != rebuilt[$0] }.sorted()
    throw SpecificationFailed(
      "the projection \(projection.name), built anew from the log, differs in \(names.joined(separator: ", ")): does it use anything but the events?"
    )
  }
}

/// All rows of the tables that are not the log's own, in an order that does not depend on how they were written.
@Sendable private func tables(_ db: Database) throws -> [String: [String]] {
  let names = try String.fetchAll(
    db,
    sql:
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'warren\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
  )
  var tables: [String: [String]] = [:]
  for name in names {
    tables[name] = try Row.fetchAll(db, sql: "SELECT * FROM \"\(name.replacing("\"", with: "\"\""))\"").map {
      $0.description
    }.sorted()
  }
  return tables
}
