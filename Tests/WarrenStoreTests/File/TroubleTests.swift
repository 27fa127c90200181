import Foundation
import GRDB
import Testing
import Warren

@testable import WarrenStore

struct TroubleTests {
  @Test func aFullDiskFailsAllOfAGroupWithARetryableErrorAndLosesNothingThatWasAcknowledged() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for number in 0..<20 { try await log.record(Happened(number: number)) }
    try await log.database.writeWithoutTransaction { db in
      let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
      try db.execute(sql: "PRAGMA max_page_count = \(pages)")
    }
    let held = try await HeldWriter(log.database)
    let tries = (0..<40).map { number in
      Task {
        try await log.transact { db in
          try db.execute(sql: "CREATE TABLE IF NOT EXISTS blobs (b)")
          try db.execute(sql: "INSERT INTO blobs VALUES (zeroblob(20000))")
          try log.record(Happened(number: 100 + number), in: db)
        }
      }
    }
    try await expectEventually { log.committer.waitingCount == 40 }
    held.letGo()
    for attempt in tries {
      let error = await thrown(StoreError.self) { _ = try await attempt.value }
      let database = await thrown(DatabaseError.self) { _ = try await attempt.value }
      #expect(error?.code == .full || database?.resultCode == .SQLITE_FULL)
      if let error { #expect(error.isRetryable && !error.mayHaveBeenRecorded) }
    }
    #expect(try await log.outboxNumbers() == Array(0..<20))
    try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = 1000000") }
    try await log.record(Happened(number: 20))
    #expect(try await log.outboxNumbers() == Array(0..<21))
  }

  @Test func aLockedFileIsABusyErrorAfterTheBusyTimeout() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.busyTimeout = .milliseconds(50) }
    let stranger = try folder.stranger()
    let held = try await HeldWriter(stranger, inTransaction: true)
    let error = await thrown(StoreError.self) { try await log.record(Happened(number: 1)) }
    held.letGo()
    #expect(error?.code == .busy)
    #expect(error?.isRetryable == true)
    #expect(error?.mayHaveBeenRecorded == false)
    try await expectEventually { await thrown(StoreError.self) { try await log.record(Happened(number: 2)) } == nil }
    #expect(try await log.outboxNumbers() == [2])
  }

  @Test func aConnectionThatMayOnlyReadSaysSo() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = 1") }
    let error = await thrown(StoreError.self) { try await log.record(Happened(number: 1)) }
    #expect(error?.code == .readOnly)
    #expect(error?.isRetryable == false)
    try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = 0") }
  }

  @Test func aDamagedFileIsSaidToBeDamaged() async throws {
    let folder = try Folder()
    do {
      let log = try folder.log()
      for number in 0..<2000 { try await log.record(Happened(number: number)) }
      try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)") }
      try log.database.close()
    }
    let handle = try FileHandle(forUpdating: URL(filePath: folder.file))
    let size = try handle.seekToEnd()
    for offset in stride(from: UInt64(4096), to: size - 4096, by: 4096) {
      try handle.seek(toOffset: offset)
      try handle.write(contentsOf: Data(repeating: 0xff, count: 4096))
    }
    try handle.close()
    let error = await thrown(StoreError.self) {
      let log = try folder.log()
      try await log.record(Happened(number: 1))
    }
    #expect(error?.code == .corrupted)
  }

  @Test func boundsRefuseWhatWouldBeTooMuch() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.maximumBacklogRows = 3 }
    for number in 0..<3 { try await log.record(Happened(number: number)) }
    let error = await thrown(StoreError.self) { try await log.record(Happened(number: 3)) }
    #expect(error?.code == .full)
    #expect(error?.isRetryable == true)
    let inTransaction = await thrown(StoreError.self) {
      try await log.database.write { _ = try log.record(Happened(number: 3), in: $0) }
    }
    #expect(inTransaction?.code == .full)
    #expect(try await log.outboxNumbers() == [0, 1, 2])
  }

  @Test func aDiskBelowTheFloorRefusesEventsAndNotTheUsersData() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.minimumFreeDisk = .max }
    let error = await thrown(StoreError.self) { try await log.record(Happened(number: 1)) }
    #expect(error?.code == .full)
    #expect(error?.isRetryable == true)
    let encoded = await thrown(StoreError.self) { _ = try await log.record(encoded: [EncodedEvent(1)]) }
    #expect(encoded?.code == .full)
    try await log.transact { try $0.execute(sql: "CREATE TABLE mine (a)") }
    let roomy = try folder.log { $0.minimumFreeDisk = 1 }
    try await roomy.record(Happened(number: 2))
    #expect(try await log.outboxNumbers() == [2])
  }
}
