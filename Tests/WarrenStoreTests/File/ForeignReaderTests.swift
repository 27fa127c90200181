import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct ForeignReaderTests {
  /// It keeps SQLite from starting its write-ahead log anew. That grows, which is visible, and everything goes on.
  @Test func aReaderThatNeverEndsDoesNotEndTheWriting() async throws {
    let folder = try Folder()
    let log = try folder.log()
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
      for start in stride(from: 0, to: 5000, by: 250) {
        _ = try await log.record(encoded: (start..<start + 250).map { EncodedEvent($0, key: "k\($0 % 10)") })
      }
      try await expectEventually { broker.confirmedCount == 5001 }
      let grown = try await log.status().walBytes
      #expect(grown > 2 << 20)
      gate.signal()
      // After the reader's end the log is used from its beginning again: it does not grow any more.
      try await expectEventually {
        _ = try await log.record(encoded: (0..<250).map { EncodedEvent($0) })
        return try await log.database.writeWithoutTransaction { db in
          try Int.fetchOne(db, sql: "PRAGMA wal_checkpoint(RESTART)") == 0
        }
      }
      _ = try await log.record(encoded: (0..<250).map { EncodedEvent($0) })
      #expect(try await log.status().walBytes <= grown + (4 << 20))
    }
  }
}
