import Foundation
import GRDB
import Testing
import Warren

@testable import WarrenStore

struct OpeningTests {
  @Test func theWriterIsSetToWhatThePromisesNeed() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let found = try await log.database.writeWithoutTransaction { db in
      (
        try String.fetchOne(db, sql: "PRAGMA journal_mode"), try Int.fetchOne(db, sql: "PRAGMA synchronous"),
        try Int.fetchOne(db, sql: "PRAGMA busy_timeout")
      )
    }
    #expect(found.0 == "wal")
    #expect(found.1 == 2)
    #expect(found.2 == 5000)
  }

  @Test(arguments: [false, true]) func aDatabaseOfTheUsersOwnIsSetTheSameWay(isPool: Bool) async throws {
    let folder = try Folder()
    var configuration = Configuration()
    configuration.busyMode = .immediateError
    let database: any DatabaseWriter =
      try isPool
      ? DatabasePool(path: folder.file, configuration: configuration)
      : DatabaseQueue(path: folder.file, configuration: configuration)
    try await database.write { try $0.execute(sql: "CREATE TABLE user (id INTEGER PRIMARY KEY, name TEXT)") }
    let log = try EventLog(database: database, source: "tests")
    let found = try await database.writeWithoutTransaction { db in
      (
        try String.fetchOne(db, sql: "PRAGMA journal_mode"), try Int.fetchOne(db, sql: "PRAGMA synchronous"),
        try Int.fetchOne(db, sql: "PRAGMA busy_timeout")
      )
    }
    #expect(found == ("wal", 2, 5000))
    try await database.write { db in
      try db.execute(sql: "INSERT INTO user VALUES (1, 'John')")
      try log.record(Happened(number: 1), in: db)
    }
    #expect(try await log.outboxNumbers() == [1])
    #expect(try await database.read { try $0.tableExists("grdb_migrations") } == false)
  }

  @Test func aBusyCallbackOfTheUserStays() async throws {
    let folder = try Folder()
    var configuration = Configuration()
    configuration.busyMode = .callback { _ in false }
    let log = try EventLog(database: DatabasePool(path: folder.file, configuration: configuration), source: "tests")
    let timeout = try await log.database.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA busy_timeout") }
    #expect(timeout == 0)
  }

  @Test func aDatabaseInMemoryIsRefused() async throws {
    let error = await thrown(StoreError.self) { _ = try EventLog(database: DatabaseQueue(), source: "tests") }
    #expect(error?.code == .unsafeSettings)
  }

  @Test func aLowerLevelNeedsAWordAndIsRememberedInTheFile() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.durability = .normal }
    #expect(try await log.database.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") } == 1)
    let again = try folder.log()
    #expect(try await again.database.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") } == 2)
    let remembered = try await again.database.read {
      try String.fetchOne($0, sql: "SELECT value FROM warren_meta WHERE name = 'durability'")
    }
    #expect(remembered == "normal")
  }

  @Test func openingAgainFindsTheSameLog() async throws {
    let folder = try Folder()
    let first = try folder.log()
    try await first.record(Happened(number: 1))
    let second = try folder.log()
    #expect(first.storeID == second.storeID)
    let receipt = try await second.record(Happened(number: 2))
    #expect(receipt.position == LogPosition(rawValue: 2))
    #expect(try await first.outboxNumbers() == [1, 2])
  }

  @Test func aNewerSchemaIsRefusedWithoutTouchingTheFile() async throws {
    let folder = try Folder()
    try await folder.log().database.write {
      try $0.execute(sql: "UPDATE warren_meta SET value = 99 WHERE name = 'version'")
    }
    let error = await thrown(StoreError.self) { _ = try folder.log() }
    #expect(error?.code == .newerSchema)
    #expect(error?.message.contains("99") == true)
  }

  @Test func whatIsNoDatabaseIsSaidToBeNone() async throws {
    let folder = try Folder()
    try Data(repeating: 0x41, count: 8192).write(to: URL(filePath: folder.file))
    let error = await thrown(StoreError.self) { _ = try folder.log() }
    #expect(error?.code == .corrupted)
    #expect(try Data(contentsOf: URL(filePath: folder.file)) == Data(repeating: 0x41, count: 8192))
  }

  @Test func aMissingFolderIsNamed() async throws {
    let error = await thrown(StoreError.self) { _ = try EventLog(path: "/nowhere/at/all.sqlite", source: "tests") }
    #expect(error?.code == .cannotOpen)
    #expect(error?.message.contains("/nowhere/at/all.sqlite") == true)
  }

  @Test func aHandleOfAnotherFileIsRefusedEvenWhenItHasALog() async throws {
    let (folder, other) = (try Folder(), try Folder())
    let (log, wrong) = (try folder.log(), try other.log())
    let error = await thrown(StoreError.self) {
      try await wrong.database.write { _ = try log.record(Happened(number: 1), in: $0) }
    }
    #expect(error?.code == .wrongDatabase)
    let plain = try DatabaseQueue()
    let second = await thrown(StoreError.self) {
      try await plain.write { _ = try log.record(Happened(number: 1), in: $0) }
    }
    #expect(second?.code == .wrongDatabase)
    #expect(try await log.count("warren_outbox") == 0)
    #expect(try await wrong.count("warren_outbox") == 0)
  }

  @Test func anotherConnectionToTheSameFileIsFine() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let stranger = try folder.stranger()
    try await stranger.write { _ = try log.record(Happened(number: 5), in: $0) }
    #expect(try await log.outboxNumbers() == [5])
  }

  @Test func settingsThatCannotWorkAreErrorsThatNameThem() async throws {
    let folder = try Folder()
    let changes: [(String, (inout EventLog.Options) -> Void)] = [
      ("busyTimeout", { $0.busyTimeout = .seconds(-1) }), ("timeout", { $0.timeout = .zero }),
      ("longestTransaction", { $0.longestTransaction = .zero }), ("maximumBodySize", { $0.maximumBodySize = 0 }),
      ("maximumBacklogRows", { $0.maximumBacklogRows = 0 }), ("maximumBacklogBytes", { $0.maximumBacklogBytes = -1 }),
      ("minimumFreeDisk", { $0.minimumFreeDisk = 0 }),
    ]
    for (name, change) in changes {
      let error = await thrown(StoreError.self) { _ = try folder.log(change) }
      #expect(error?.code == .invalidConfiguration && error?.message.contains(name) == true, "\(name)")
    }
    let service = await thrown(StoreError.self) {
      _ = try EventLog(path: folder.file, source: "No Service")
    }
    #expect(service?.code == .invalidConfiguration)
    let log = try folder.log()
    let relays: [(String, (inout Relay.Options) -> Void)] = [
      ("window", { $0.window = 0 }), ("mostUnroutable", { $0.mostUnroutable = -1 }),
      ("longestUnroutable", { $0.longestUnroutable = .seconds(-1) }),
      ("gracePeriod", { $0.gracePeriod = .seconds(-1) }),
    ]
    for (name, change) in relays {
      var options = Relay.Options()
      change(&options)
      let relay = log.relay(to: FakeBroker(), options: options)
      let error = await thrown(StoreError.self) { try await relay.run() }
      #expect(error?.code == .invalidConfiguration && error?.message.contains(name) == true, "\(name)")
    }
  }
}
