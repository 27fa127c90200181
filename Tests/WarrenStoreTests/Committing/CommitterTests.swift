import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

enum Tenant {
  @TaskLocal static var current = "nobody"
}

struct CommitterTests {
  struct Refused: Error, Equatable { var number: Int }

  @Test func manyCallersShareCommits() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let commits = Lock(0)
    let listener = log.wakeUp.listen { commits.withLock { $0 += 1 } }
    let held = try await HeldWriter(log.database)
    let callers = (0..<200).map { number in Task { try await log.record(Happened(number: number)) } }
    try await expectEventually { log.committer.waitingCount == 200 }
    held.letGo()
    var positions: Set<LogPosition> = []
    for caller in callers { positions.insert(try #require(try await caller.value.position)) }
    log.wakeUp.forget(listener)
    #expect(positions.count == 200)
    #expect(Set(try await log.outboxNumbers()) == Set(0..<200))
    #expect(commits.withLock { $0 } == 1)
  }

  @Test func theCallersTaskLocalsAreSet() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let seen = try await Tenant.$current.withValue("blue") { try await log.transact { _ in Tenant.current } }
    #expect(seen == "blue")
  }

  @Test func aThrowingBodyTakesBackOnlyItsOwn() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let held = try await HeldWriter(log.database)
    let callers = (0..<10).map { number in
      Task {
        try await log.transact { db in
          try log.record(Happened(number: number), in: db)
          if number % 3 == 0 { throw Refused(number: number) }
          return number
        }
      }
    }
    try await expectEventually { log.committer.waitingCount == 10 }
    held.letGo()
    for (number, caller) in callers.enumerated() {
      if number % 3 == 0 {
        #expect(await thrown(Refused.self) { _ = try await caller.value } == Refused(number: number))
      } else {
        #expect(try await caller.value == number)
      }
    }
    #expect(try await log.outboxNumbers().sorted() == [1, 2, 4, 5, 7, 8])
  }

  enum Nature: CaseIterable {
    case good, throwing, rollbackClause, rawRollback, rawCommit, commitAndBegin, deferredKey, entries, swallowed
  }

  /// Random groups with members that destroy the transaction in every way, against what each one may be told.
  @Test func nobodyIsHurtByANeighbourThatDestroysTheTransaction() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.write { db in
      try db.execute(sql: "CREATE TABLE done (number INTEGER)")
      try db.execute(sql: "CREATE TABLE one (id INTEGER PRIMARY KEY); INSERT INTO one VALUES (1)")
      try db.execute(
        sql: "CREATE TABLE child (number, parent REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)")
    }
    var random = SeededGenerator()
    var number = 0
    var mustBeThere: Set<Int> = []
    var mustNotBeThere: Set<Int> = []
    for _ in 0..<60 {
      let natures = (0..<random.int(1...6)).map { _ in random.pick(Nature.allCases) }
      let held = try await HeldWriter(log.database)
      var callers: [(Int, Nature, Task<Void, any Error>)] = []
      for nature in natures {
        number += 1
        let number = number
        callers.append(
          (
            number, nature,
            Task {
              guard nature != .entries else {
                try await log.record(Happened(number: number))
                return
              }
              try await log.transact { db in
                try db.execute(sql: "INSERT INTO done VALUES (?)", arguments: [number])
                try log.record(Happened(number: number), in: db)
                switch nature {
                case .good, .entries: break
                case .throwing: throw Refused(number: number)
                case .rollbackClause: try db.execute(sql: "INSERT OR ROLLBACK INTO one VALUES (1)")
                case .rawRollback: try db.execute(sql: "ROLLBACK")
                case .rawCommit: try db.execute(sql: "COMMIT")
                case .commitAndBegin: try db.execute(sql: "COMMIT; BEGIN")
                case .deferredKey: try db.execute(sql: "INSERT INTO child VALUES (1, 99)")
                case .swallowed: try? db.execute(sql: "INSERT OR ROLLBACK INTO one VALUES (1)")
                }
              }
            }
          ))
      }
      try await expectEventually { log.committer.waitingCount == natures.count }
      held.letGo()
      for (number, nature, caller) in callers {
        let error = await thrown((any Error).self) { try await caller.value }
        switch nature {
        case .good, .entries:
          #expect(error == nil, "\(natures) \(random.replay)")
          mustBeThere.insert(number)
        case .throwing:
          #expect(error as? Refused == Refused(number: number), "\(natures) \(random.replay)")
          mustNotBeThere.insert(number)
        case .rollbackClause, .deferredKey:
          #expect(error != nil && (error as? StoreError)?.mayHaveBeenRecorded != true, "\(natures) \(random.replay)")
          mustNotBeThere.insert(number)
        case .rawRollback, .swallowed:
          #expect((error as? StoreError)?.code == .transactionEnded, "\(natures) \(random.replay)")
          #expect((error as? StoreError)?.mayHaveBeenRecorded == false)
          mustNotBeThere.insert(number)
        case .rawCommit, .commitAndBegin:
          #expect((error as? StoreError)?.code == .transactionEnded, "\(natures) \(random.replay)")
          #expect((error as? StoreError)?.mayHaveBeenRecorded == true)
          mustBeThere.insert(number)
        }
      }
    }
    let recorded = try await log.outboxNumbers()
    #expect(Set(recorded).count == recorded.count, "\(random.replay)")
    #expect(Set(recorded) == mustBeThere, "\(random.replay)")
    let done = try await log.database.read { try Int.fetchAll($0, sql: "SELECT number FROM done") }
    #expect(Set(done).isDisjoint(with: mustNotBeThere), "\(random.replay)")
    #expect(Set(done).count == done.count, "\(random.replay)")
  }

  @Test func aCancelledCallerIsTakenOutAndItsNeighboursCommit() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let held = try await HeldWriter(log.database)
    let before = Task { try await log.record(Happened(number: 1)) }
    let cancelled = Task { try await log.transact { try log.record(Happened(number: 2), in: $0) } }
    let behind = Task { try await log.record(Happened(number: 3)) }
    try await expectEventually { log.committer.waitingCount == 3 }
    cancelled.cancel()
    let error = await thrown(StoreError.self) { _ = try await cancelled.value }
    #expect(error?.code == .cancelled)
    #expect(error?.mayHaveBeenRecorded == false)
    held.letGo()
    _ = try await before.value
    _ = try await behind.value
    #expect(try await log.outboxNumbers().sorted() == [1, 3])
  }

  @Test func whoIsCancelledWhileItsBodyRunsHearsThatItMayBeRecorded() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let (hasBegun, gate) = (Lock(false), DispatchSemaphore(value: 0))
    let caller = Task {
      try await log.transact { db in
        try log.record(Happened(number: 1), in: db)
        hasBegun.withLock { $0 = true }
        gate.wait()
      }
    }
    try await expectEventually { hasBegun.withLock { $0 } }
    caller.cancel()
    let error = await thrown(StoreError.self) { _ = try await caller.value }
    #expect(error?.code == .cancelled)
    #expect(error?.mayHaveBeenRecorded == true)
    gate.signal()
    try await log.record(Happened(number: 2))
    #expect(try await log.outboxNumbers() == [1, 2])
  }

  @Test func aWriterThatIsHeldUpDoesNotHoldUpItsCallersForEver() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.timeout = .milliseconds(300) }
    let held = try await HeldWriter(log.database)
    let error = await thrown(StoreError.self) { try await log.record(Happened(number: 1)) }
    #expect(error?.code == .timedOut)
    #expect(error?.mayHaveBeenRecorded == false)
    held.letGo()
    try await log.record(Happened(number: 2))
    #expect(try await log.outboxNumbers() == [2])
  }

  @Test func sqlThatDoesNotEndIsInterruptedAndItsNeighboursCommit() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.longestTransaction = .milliseconds(300) }
    let held = try await HeldWriter(log.database)
    let before = Task { try await log.record(Happened(number: 1)) }
    let endless = Task {
      try await log.transact { db in
        try log.record(Happened(number: 2), in: db)
        try db.execute(sql: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
      }
    }
    let behind = Task { try await log.transact { _ = try log.record(Happened(number: 3), in: $0) } }
    try await expectEventually { log.committer.waitingCount == 3 }
    held.letGo()
    let error = await thrown(DatabaseError.self) { try await endless.value }
    #expect(error?.resultCode == .SQLITE_INTERRUPT)
    _ = try await before.value
    try await behind.value
    #expect(try await log.outboxNumbers().sorted() == [1, 3])
  }
}
