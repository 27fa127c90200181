#if canImport(Glibc) && !WARREN_TSAN
  import Foundation
  import GRDB
  import Glibc
  import Testing
  import Warren
  import WarrenSupport

  @testable import WarrenStore

  /// A disk that fails, as the kernel says it.
  struct DiskTests {
    @Test func aFullDiskLosesNothingThatWasAcknowledgedAndStopsNobodyForGood() async throws {
      let folder = try Folder()
      let log = try folder.log()
      let trace = SystemCallTrace(of: folder.file + "-wal")
      defer { trace.end() }
      let broker = FakeBroker()
      try await withRelay(log, to: broker) { relay in
        for number in 0..<20 { try await log.record(Happened(number: number), options: .init(key: "k")) }
        trace.fail(.write, with: ENOSPC)
        for number in 20..<25 {
          let error = await thrown(StoreError.self) { try await log.record(Happened(number: number)) }
          #expect(error?.code == .full && error?.isRetryable == true && error?.mayHaveBeenRecorded == false)
        }
        trace.fail(.write, with: nil)
        try await log.record(Happened(number: 25), options: .init(key: "k"))
        try await expectEventually { try await log.status().checkpoint == log.status().head }
        #expect(relay.isActive)
      }
      var seen: Set<Int> = []
      #expect(broker.confirmed.map(\.number).filter { seen.insert($0).inserted } == Array(0..<20) + [25])
    }

    @Test func aSyncThatFailsMeansThatItMayBeThere() async throws {
      let folder = try Folder()
      let log = try folder.log()
      try await log.database.write { try $0.execute(sql: "CREATE TABLE own (a)") }
      let trace = SystemCallTrace(of: folder.file + "-wal")
      defer { trace.end() }
      trace.fail(.sync, with: EIO)
      let held = try await HeldWriter(log.database)
      let tries = (0..<6).map { number in
        Task {
          if number % 2 == 0 {
            try await log.record(Happened(number: number))
          } else {
            try await log.transact { try $0.execute(sql: "INSERT INTO own VALUES (1)") }
          }
        }
      }
      try await expectEventually { log.committer.waitingCount == 6 }
      held.letGo()
      let alone = await thrown(StoreError.self) { try await tries[0].value }
      for one in tries {
        let error = await thrown(StoreError.self) { try await one.value }
        #expect(error?.code == .inputOutput && error?.isRetryable == true && error?.mayHaveBeenRecorded == true)
      }
      #expect(alone != nil)
      let single = await thrown(StoreError.self) {
        try await log.transact { try $0.execute(sql: "INSERT INTO own VALUES (1)") }
      }
      #expect(single?.code == .inputOutput && single?.mayHaveBeenRecorded == true)
      trace.fail(.sync, with: nil)
      try await log.record(Happened(number: 10))
      #expect(try await log.outboxNumbers() == [10])
      #expect(try await log.count("own") == 0)
    }

    /// `setfsuid`, which Swift's module of the C library leaves out.
    private static func becomeNobody() {
      guard let found = dlsym(nil, "setfsuid") else { return }
      _ = unsafeBitCast(found, to: (@convention(c) (uid_t) -> Int32).self)(65_534)
    }

    /// The rights of a file, as they bind somebody who is not root: root is bound by none.
    @Test(arguments: [false, true]) func aFileThatMayOnlyBeReadIsSaidToBeSo(isFolderReadOnly: Bool) async throws {
      let folder = try Folder()
      do {
        let log = try folder.log()
        try await log.record(Happened(number: 1))
        try log.database.close()
      }
      #expect(chmod(folder.file, 0o444) == 0)
      #expect(chmod(folder.path, isFolderReadOnly ? 0o555 : 0o777) == 0)
      defer { _ = chmod(folder.path, 0o755) }
      let error = await withCheckedContinuation { (continuation: CheckedContinuation<StoreError?, Never>) in
        Thread.detachNewThread {
          // The kernel asks for the rights of this user on this thread.
          if geteuid() == 0 { Self.becomeNobody() }
          do {
            _ = try folder.log()
            continuation.resume(returning: nil)
          } catch {
            continuation.resume(returning: error as? StoreError)
          }
        }
      }
      let isNamed = error?.message.contains(folder.file) == true
      #expect(isNamed, "\(String(describing: error))")
      #expect(error?.code == .readOnly, "\(String(describing: error))")
      // Nothing has changed: with the rights back all is there.
      #expect(chmod(folder.path, 0o755) == 0)
      // What SQLite has made beside the file has the file's rights.
      for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
        #expect(chmod(folder.path + "/" + name, 0o644) == 0, "\(name)")
      }
      #expect(try await folder.log().outboxNumbers() == [1])
    }
  }
#endif
