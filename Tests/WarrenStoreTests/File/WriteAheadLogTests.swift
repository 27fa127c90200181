import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct WriteAheadLogTests {
  private static let page = 4096

  private func log(_ folder: Folder, pages: Int = 50, bytes: Int = 1 << 20) throws -> EventLog {
    try folder.log { $0.writeAheadLog = .init(pages: pages, bytes: bytes) }
  }

  private func fill(_ log: EventLog, commits: Int = 400) async throws {
    for number in 0..<commits {
      _ = try await log.record(encoded: (0..<10).map { EncodedEvent(number * 10 + $0) })
    }
  }

  @Test func withoutARelayAnywhereItStaysSmall() async throws {
    let folder = try Folder()
    let log = try log(folder)
    let automatic = try await log.database.writeWithoutTransaction {
      try Int.fetchOne($0, sql: "PRAGMA wal_autocheckpoint")
    }
    #expect(automatic == 0)
    // Each commit writes a few pages, so without copying there would be thousands.
    try await fill(log)
    #expect(try await log.status().walBytes < 400 * Self.page)
  }

  @Test func whileAnotherProcessRelaysItIsLeftToThatOne() async throws {
    let folder = try Folder()
    let log = try log(folder)
    let lock = try #require(try RelayLock(of: folder.file))
    let now = Int64(wallClockMilliseconds())
    lock.note(RelayHolder(process: 1, since: now, progressAt: now))
    try await fill(log)
    #expect(try await log.status().walBytes > 800 * Self.page)
    #expect(log.writeAheadLog.copies == 0)
    // Frozen: it copies nothing, so somebody else has to.
    lock.note(RelayHolder(process: 1, since: now, progressAt: now - 31_000))
    try await expectEventually {
      try await log.record(Happened(number: 1))
      return log.writeAheadLog.copies > 0
    }
  }

  @Test func aRelayCopiesWhatOtherProcessesCommit() async throws {
    let folder = try Folder()
    let relaying = try log(folder)
    let other = try log(folder)
    try await withRelay(relaying, to: FakeBroker()) { relay in
      try await expectEventually { relay.isActive }
      // Nothing to deliver, so the relay commits nothing itself.
      try await other.database.write { try $0.execute(sql: "CREATE TABLE own (a)") }
      try await expectEventually {
        try await other.database.write { try $0.execute(sql: "INSERT INTO own VALUES (zeroblob(100000))") }
        return relaying.writeAheadLog.copies > 0
      }
    }
    #expect(other.writeAheadLog.copies == 0)
  }

  /// Two readers of which one always looks at some part of the log would keep SQLite from ever beginning it anew.
  @Test func ownReadersPauseWhenItIsTooLarge() async throws {
    let folder = try Folder()
    let log = try log(folder)
    let isOver = Lock(false)
    let reading = (0..<2).map { _ in
      Task.detached {
        while !isOver.withLock({ $0 }) {
          try await log.read(doing: "reading") { db in
            _ = try Int.fetchOne(db, sql: "SELECT count(*) FROM warren_outbox")
            Thread.sleep(forTimeInterval: 0.02)
          }
        }
      }
    }
    try await expectEventually {
      try await fill(log, commits: 50)
      return log.writeAheadLog.restarts >= 2
    }
    isOver.withLock { $0 = true }
    for one in reading { try await one.value }
    // The next commits begin it anew, and cut it.
    try await expectEventually {
      try await fill(log, commits: 10)
      return try await log.status().walBytes <= 2 << 20
    }
    let status = try await log.status()
    #expect(!status.isWALStuck)
    #expect(status.isHealthy)
  }

  @Test func aStrangerThatReadsForEverIsReportedAndStopsNobody() async throws {
    let folder = try Folder()
    let log = try log(folder)
    try await log.record(Happened(number: 0))
    let stranger = try folder.stranger()
    let (isReading, gate) = (Lock(false), DispatchSemaphore(value: 0))
    Thread.detachNewThread {
      try? stranger.writeWithoutTransaction { db in
        try db.execute(sql: "BEGIN")
        _ = try Int.fetchOne(db, sql: "SELECT count(*) FROM warren_outbox")
        isReading.withLock { $0 = true }
        gate.wait()
        try db.execute(sql: "ROLLBACK")
      }
    }
    try await expectEventually { isReading.withLock { $0 } }
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { _ in
      try await expectEventually {
        let began = ContinuousClock.now
        try await fill(log, commits: 50)
        // Far from any busy timeout: nobody waits for the stranger.
        #expect(ContinuousClock.now - began < .seconds(4))
        return try await log.status().isWALStuck
      }
      let status = try await log.status()
      #expect(status.reasons.count == 1 && status.reasons[0].contains("reading the file"))
      #expect(log.writeAheadLog.restarts == 0)
      gate.signal()
      try await expectEventually {
        try await fill(log, commits: 10)
        return try await log.status().isHealthy
      }
      // It is cut again, not only used from its beginning.
      #expect(try await log.status().walBytes <= 2 << 20)
    }
  }

  @Test func afterTheLogSQLiteDoesItByItselfAgain() async throws {
    let folder = try Folder()
    let database = try DatabasePool(path: folder.file)
    do {
      let log = try EventLog(database: database, source: "tests")
      try await log.record(Happened(number: 1))
    }
    try await expectEventually {
      try await database.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA wal_autocheckpoint") } == 1000
    }
    try await database.write { try $0.execute(sql: "CREATE TABLE own (a)") }
  }
}
