import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct RecordingTests {
  @Test func everythingAboutAnEventComesBack() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let headers: [String: HeaderValue] = [
      "text": "é\0🐇", "int": .int(.min), "double": .double(.infinity), "yes": true, "bytes": .bytes([0, 255]),
      "time": .timestamp(Date(milliseconds: 1234)), "list": .array([1, "a", .null]),
      "table": .table(["x": .double(0.1)]),
      "null": .null,
    ]
    let metadata = EventMetadata(
      id: try EventID("own-id"), type: "thing.happened", source: "somebody",
      time: Date(milliseconds: 1_700_000_000_123),
      key: "key\0with nul", subject: "subject", correlationID: "correlation", causationID: "cause",
      trace: TraceContext(traceparent: "00-a-b-01", tracestate: "s", baggage: "b=1"), contentType: nil, headers: headers
    )
    let event = EncodedEvent(
      metadata: metadata, body: Data([0, 1, 2, 0xff]), routingKey: "", expiry: .milliseconds(1500), hasOwnID: false)
    let empty = EncodedEvent(metadata: EventMetadata(type: "thing.happened"), body: Data())
    let before = wallClockMilliseconds()
    _ = try await log.record(encoded: [event, empty])
    let found = try await log.database.read { db in
      let statement = try RawStatement("SELECT \(EventRow.columns) FROM warren_outbox ORDER BY position", db)
      var events: [EncodedEvent] = []
      while try statement.step() { events.append(try EventRow.event(statement)) }
      return events
    }
    try #require(found.count == 2)
    #expect((Int64(before)...Int64(wallClockMilliseconds())).contains(found[0].metadata.recordedAt?.milliseconds ?? 0))
    var same = found
    same[0].metadata.recordedAt = nil
    same[1].metadata.recordedAt = nil
    #expect(same[0] == event)
    #expect(same[1] == empty)
  }

  @Test func whatIsTooLargeIsRefusedAtOnceAndTheTransactionGoesOn() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.maximumBodySize = 20 }
    try await log.database.write { db in
      do throws(StoreError) {
        _ = try log.record(Happened(number: 1_000_000_000_000), in: db)
        Issue.record("was taken")
      } catch {
        #expect(error.code == .invalidEvent)
      }
      try log.record(Happened(number: 1), in: db)
    }
    #expect(try await log.outboxNumbers() == [1])
  }

  @Test func withoutATransactionNothingIsRecorded() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let error = await thrown(StoreError.self) {
      try await log.database.writeWithoutTransaction { _ = try log.record(Happened(number: 1), in: $0) }
    }
    #expect(error?.message.contains("transaction") == true)
    #expect(try await log.count("warren_outbox") == 0)
  }

  @Test func aRolledBackTransactionLeavesNothing() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.writeWithoutTransaction { db in
      try db.inTransaction {
        try log.record(Happened(number: 1), in: db)
        return .rollback
      }
    }
    #expect(try await log.count("warren_outbox") == 0)
    #expect(try await log.record(Happened(number: 2)).position == LogPosition(rawValue: 1))
  }

  /// The promise: positions follow commit order, are never reused, and a reader that has seen p never sees a new entry below p.
  @Test func aReaderNeverSeesANewEntryBelowWhatItHasSeen() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let second = try folder.log()
    let stranger = try folder.stranger()
    let isOver = Lock(false)
    let reading = Task {
      var seen: Int64 = 0
      var known: Set<Int64> = []
      while !isOver.withLock({ $0 }) {
        let page = try await log.database.read {
          try Int64.fetchAll($0, sql: "SELECT position FROM warren_outbox ORDER BY position")
        }
        for position in page {
          if position <= seen { #expect(known.contains(position)) }
          known.insert(position)
        }
        seen = max(seen, page.last ?? 0)
      }
      return known.count
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for worker in 0..<6 {
        group.addTask {
          var random = SeededGenerator("position \(worker)")
          for _ in 0..<60 { try await Self.write(worker, random.int(0...5), log, second, stranger) }
        }
      }
      try await group.waitForAll()
    }
    isOver.withLock { $0 = true }
    #expect(try await reading.value > 10)
    let head = try await log.database.read { try Int64.fetchOne($0, sql: "SELECT position FROM warren_head") ?? 0 }
    let last = try await log.database.read {
      try Int64.fetchOne($0, sql: "SELECT max(position) FROM warren_outbox") ?? 0
    }
    #expect(head == last)
  }

  private static func write(
    _ worker: Int, _ kind: Int, _ log: EventLog, _ second: EventLog, _ stranger: DatabaseQueue
  ) async throws {
    switch kind {
    case 0: try await log.record(Happened(number: worker))
    case 1: try await second.record(Happened(number: worker))
    case 2:
      try? await log.transact { db in
        try log.record(Happened(number: worker), in: db)
        if worker == 1 { throw CancellationError() }
        try? db.inSavepoint {
          try log.record(Happened(number: worker), in: db)
          return .rollback
        }
        try log.record(Happened(number: worker), in: db)
      }
    case 3:
      try? await log.transact { db in
        try log.record(Happened(number: worker), in: db)
        try db.execute(sql: worker == 2 ? "COMMIT; BEGIN" : worker == 3 ? "ROLLBACK" : "SELECT 1")
      }
    case 4: try await stranger.write { _ = try log.record(Happened(number: worker), in: $0) }
    default:
      // The relay's pruning: always from the head of the table.
      try await log.database.write {
        try $0.execute(
          sql: "DELETE FROM warren_outbox WHERE position <= (SELECT max(position) - 10 FROM warren_outbox)")
      }
    }
  }
}
