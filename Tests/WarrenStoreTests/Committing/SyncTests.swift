#if canImport(Glibc) && !WARREN_TSAN
  import Foundation
  import GRDB
  import Testing
  import Warren

  @testable import WarrenStore

  /// What the system calls say about durability.
  struct SyncTests {
    @Test func betweenTheLastWriteAndTheReturnTheLogIsSynced() async throws {
      let folder = try Folder()
      // Small, so that copies into the database are part of it.
      let log = try folder.log { $0.writeAheadLog.pages = 40 }
      let trace = SystemCallTrace(of: folder.file + "-wal")
      defer { trace.end() }
      for number in 0..<100 {
        if number % 2 == 0 {
          try await log.record(Happened(number: number))
        } else {
          try await log.transact { _ = try log.record(Happened(number: number), in: $0) }
        }
        trace.mark()
      }
      let parts = trace.calls.split(separator: .mark)
      #expect(parts.count == 100)
      for part in parts {
        let lastWrite = try #require(part.lastIndex(of: .write))
        #expect(part[lastWrite...].contains(.sync), "\(part)")
      }
      #expect(log.writeAheadLog.copies > 0)
    }

    @Test func aGroupCostsOneSync() async throws {
      let folder = try Folder()
      let log = try folder.log()
      try await log.record(Happened(number: -1))
      let trace = SystemCallTrace(of: folder.file + "-wal")
      defer { trace.end() }
      let before = log.committer.groupCount
      await withThrowingTaskGroup(of: Void.self) { group in
        for caller in 0..<64 {
          group.addTask {
            for number in 0..<40 { try await log.record(Happened(number: caller * 100 + number)) }
          }
        }
      }
      let groups = log.committer.groupCount - before
      let syncs = trace.calls.count { $0 == .sync }
      #expect(try await log.count("warren_outbox") == 64 * 40 + 1)
      #expect(groups >= 40)
      #expect(syncs >= groups)
      #expect(Double(syncs) <= 1.1 * Double(groups), "\(syncs) syncs of \(groups) groups")
    }

    @Test func withNormalDurabilityTheRelaySyncsBeforeItSends() async throws {
      let folder = try Folder()
      let log = try folder.log { $0.durability = .normal }
      let trace = SystemCallTrace(of: folder.file + "-wal")
      defer { trace.end() }
      for number in 0..<10 { try await log.record(Happened(number: number), options: .init(key: "k")) }
      #expect(!trace.calls.contains(.sync))
      let broker = FakeBroker { _ in
        trace.mark()
        return .confirmed
      }
      try await withRelay(log, to: broker) { _ in try await expectEventually { broker.confirmedCount == 10 } }
      let untilFirstSend = trace.calls.prefix { $0 != .mark }
      let lastWrite = try #require(untilFirstSend.lastIndex(of: .write))
      #expect(untilFirstSend[lastWrite...].contains(.sync))
    }
  }
#endif
