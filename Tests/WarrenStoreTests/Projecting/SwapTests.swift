import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// What a new version finds in the file when it takes the place of the old one.
struct SwapTests {
  /// Rows that refer to each other's tables, all ways that a dictionary may be ordered.
  private struct Families: Projection {
    let name = "families"
    var version = 1
    let eventTypes = [Happened.eventType]
    func create(_ context: ProjectionContext) throws {
      let (parents, children, pets) = (context.table("parents"), context.table("children"), context.table("pets"))
      try context.db.execute(
        sql: """
          CREATE TABLE \(parents) (id INTEGER PRIMARY KEY);
          CREATE TABLE \(children) (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES \(parents)(id));
          CREATE TABLE \(pets) (child INTEGER NOT NULL REFERENCES \(children)(id), factor INTEGER)
          """)
    }
    func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
      let id = event.position.rawValue
      try context.db.execute(sql: "INSERT INTO \(context.table("parents")) VALUES (?)", arguments: [id])
      try context.db.execute(sql: "INSERT INTO \(context.table("children")) VALUES (?, ?)", arguments: [id, id])
      try context.db.execute(sql: "INSERT INTO \(context.table("pets")) VALUES (?, ?)", arguments: [id, version])
    }
  }

  private func bring(_ projection: any Projection, _ log: EventLog) async throws {
    let last = LogPosition(rawValue: try await log.head().rawValue)
    try await withProjector(log, projection) { _ in try await log.wait(for: projection, reached: last) }
  }

  @Test func tablesThatReferToEachOtherAreSwapped() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append((1...5).map { Happened(number: $0) }, to: "a")
    for version in 1...4 {
      try await bring(Families(version: version), log)
      #expect(
        try await log.database.read { try Int.fetchAll($0, sql: "SELECT DISTINCT factor FROM pets") } == [version])
    }
    let (violations, parents) = try await log.database.read { db in
      (
        try Row.fetchAll(db, sql: "PRAGMA foreign_key_check").count,
        try String.fetchAll(db, sql: "SELECT \"table\" FROM pragma_foreign_key_list('pets')")
      )
    }
    #expect(violations == 0 && parents == ["children"])
    try await log.drop(projection: "families")
  }

  @Test func viewsAndTriggersOfTheServicesOwnMeanTheNewTables() async throws {
    let folder = try Folder()
    let log = try folder.log()
    _ = try await log.deposit(1, 2, to: "a")
    try await bring(Balances(), log)
    try await log.database.write { db in
      try db.execute(
        sql: """
          CREATE VIEW rich AS SELECT account FROM balances WHERE cents >= 30;
          CREATE TABLE asked (n INTEGER);
          CREATE TABLE answers (cents INTEGER);
          CREATE TRIGGER answer AFTER INSERT ON asked BEGIN INSERT INTO answers SELECT cents FROM balances; END
          """)
    }
    #expect(try await log.count("rich") == 0)
    try await bring(Balances(version: 2, factor: 10), log)
    #expect(try await log.count("rich") == 1)
    try await log.database.write { try $0.execute(sql: "INSERT INTO asked VALUES (1)") }
    #expect(try await log.database.read { try Int.fetchAll($0, sql: "SELECT cents FROM answers") } == [30])
    let isLegacy = try await log.database.write { try Bool.fetchOne($0, sql: "PRAGMA legacy_alter_table") }
    #expect(isLegacy == false)
  }

  @Test func aSwapThatTheFileDoesNotAllowSaysWhyAndGoesOnWhenItDoes() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let last = try await log.deposit(1, to: "a")
    try await bring(Balances(), log)
    try await log.database.write { db in
      try db.execute(
        sql: "CREATE TABLE mine (account TEXT REFERENCES balances(account)); INSERT INTO mine VALUES ('a')")
    }
    let second = Balances(version: 2, factor: 10)
    try await withProjector(log, second) { _ in
      try await expectEventually {
        try await log.projections().contains { $0.version == 2 && $0.problem?.contains("FOREIGN KEY") == true }
      }
      #expect(try await log.balances() == ["a 1 1 1"])
      try await log.database.write { try $0.execute(sql: "DELETE FROM mine") }
      try await log.wait(for: second, reached: last, timeout: .seconds(20))
    }
    #expect(try await log.balances() == ["a 10 1 1"])
    #expect(try await log.projections().map(\.problem) == [nil])
  }

  @Test func aVersionThatWasNeverFinishedGoesWithTheOld() async throws {
    let folder = try Folder()
    let log = try folder.log()
    _ = try await log.deposit(1, 13, to: "a")
    try await bring(Balances(), log)
    let broken = Balances(version: 2)
    broken.poison.withLock { $0 = 13 }
    try await withProjector(log, broken) { projector in
      try await expectEventually { projector.status == .stopped }
      #expect(try await log.projections().map(\.version) == [1, 2])
      // Its own projector may still be there.
      try await bring(Balances(version: 3), log)
      try await expectEventually { projector.status == .superseded(by: 3) }
    }
    #expect(try await log.projections().map(\.version) == [3])
    let left = try await log.database.read { db in
      try String.fetchAll(
        db, sql: "SELECT name FROM sqlite_master WHERE name LIKE 'balances%' AND type = 'table'")
        + String.fetchAll(db, sql: "SELECT name FROM warren_readers WHERE name LIKE 'projection%'")
    }
    #expect(left == ["balances", "projection balances/3"])
  }
}
