import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct InboxTests {
  struct Refused: Error {}

  private func log(_ folder: Folder) async throws -> EventLog {
    let log = try folder.log()
    try await log.database.write { try $0.execute(sql: "CREATE TABLE effect (number INTEGER)") }
    return log
  }

  private func delivery(
    _ number: Int, id: String?, isOurs: Bool = true, source: String? = "shop", at: Date? = nil, queue: String = "q",
    key: String? = nil
  ) throws -> Delivery {
    let id = try id.map { try EventID($0) }
    return Delivery(
      type: Happened.eventType, body: Data(#"{"number":\#(number)}"#.utf8), queue: queue, hasOwnID: { isOurs }
    ) {
      var metadata = EventMetadata(id: id, type: Happened.eventType, source: source)
      metadata.recordedAt = at
      metadata.key = key
      return metadata
    }
  }

  private func effects(_ log: EventLog) async throws -> [Int] {
    try await log.database.read { try Int.fetchAll($0, sql: "SELECT number FROM effect ORDER BY rowid") }
  }

  private func handlers(_ log: EventLog) -> [(String, InboxHandler)] {
    [
      (
        "synchronous",
        log.inbox.on(Happened.self) { event, db, context in
          try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
          try log.record(Happened(number: event.number + 1000), in: db)
          if event.number == 13 { throw Refused() }
          if event.number == 14 { context.deadLetter("no good") }
          if event.number == 15 { context.ignore("not now") }
        }
      ),
      (
        "asynchronous",
        log.inbox.on(Happened.self) { event, context in
          await Task.yield()
          context.onCommit { db in
            try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
            try log.record(Happened(number: event.number + 1000), in: db)
          }
          if event.number == 13 { throw Refused() }
          if event.number == 14 { context.deadLetter("no good") }
          if event.number == 15 { context.ignore("not now") }
        }
      ),
      (
        "batch",
        log.inbox.onBatch(Happened.self, most: 4) { batch, db in
          for (event, context) in batch {
            if event.number == 13 { throw Refused() }
            if event.number == 14 {
              context.deadLetter("no good")
              continue
            }
            if event.number == 15 {
              context.ignore("not now")
              continue
            }
            try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
            try log.record(Happened(number: event.number + 1000), in: db)
          }
        }
      ),
    ]
  }

  @Test(arguments: 0..<3) func theEffectHappensOnceHoweverOftenItComes(form: Int) async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = handlers(log)[form].1
    #expect(handler.queueOptions.singleActiveConsumer)
    for _ in 0..<3 {
      for number in 1...3 {
        let result = await handler.handle(try delivery(number, id: "id-\(number)"))
        #expect(result.words == "handled, committed")
      }
    }
    #expect(try await effects(log) == [1, 2, 3])
    #expect(try await log.outboxNumbers() == [1001, 1002, 1003])
  }

  @Test(arguments: 0..<3) func concurrentCopiesHaveOneEffect(form: Int) async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = handlers(log)[form].1
    let results = try await withThrowingTaskGroup(of: String.self) { group in
      for copy in 0..<40 {
        group.addTask { await handler.handle(try delivery(copy % 5, id: "id-\(copy % 5)")).words }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(Set(results) == ["handled, committed"])
    #expect(try await effects(log).sorted() == [0, 1, 2, 3, 4])
  }

  @Test(arguments: 0..<3) func whatDoesNotSucceedLeavesNothingAndMayComeAgain(form: Int) async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = handlers(log)[form].1
    for _ in 0..<2 {
      #expect(await handler.handle(try delivery(13, id: "a")).words == "failed")
      #expect(await handler.handle(try delivery(14, id: "b")).words == "rejected: no good")
      #expect(await handler.handle(try delivery(15, id: "c")).words == "ignored: not now")
    }
    #expect(try await effects(log).isEmpty)
    #expect(try await log.count("warren_outbox") == 0)
    #expect(try await log.count("warren_inbox") == 0)
  }

  @Test func ofABatchOnlyTheCulpritFails() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = log.inbox.onBatch(Happened.self, most: 8, patience: .seconds(10)) { batch, db in
      for (event, context) in batch {
        try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
        if event.number == 3 { throw Refused() }
        if event.number == 5 { context.ignore("five") }
      }
    }
    let results = try await withThrowingTaskGroup(of: (Int, String).self) { group in
      for number in 0..<8 {
        group.addTask { (number, await handler.handle(try delivery(number, id: "id-\(number)")).words) }
      }
      return try await group.reduce(into: [Int: String]()) { $0[$1.0] = $1.1 }
    }
    for number in 0..<8 {
      #expect(results[number] == (number == 3 ? "failed" : number == 5 ? "ignored: five" : "handled, committed"))
    }
    #expect(try await effects(log).sorted() == [0, 1, 2, 4, 5, 6, 7])
    #expect(try await log.count("warren_inbox") == 6)
  }

  @Test func whatFollowsAFailedEventOfItsKeyIsNotCommittedWithIt() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    // The number of the group commit in which each event ran alone.
    let alone = Lock<[Int: Int]>([:])
    let batch = InboxBatch<Happened>(InboxKeeper(log, .init()), most: 8, patience: .seconds(10)) { batch, db in
      if batch.count == 1 { alone.withLock { $0[batch[0].event.number] = log.committer.groupCount } }
      for (event, _) in batch {
        if event.number % 4 == 0 { throw Refused() }
        try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
      }
    }
    var handling: [Task<String, any Error>] = []
    for number in 0..<8 {
      handling.append(
        Task {
          let key = number < 6 ? "k\(number / 4)" : nil
          return await batch.add(try delivery(number, id: "id-\(number)", key: key), Happened(number: number)).words
        })
      // In this order; the last one fills the batch.
      if number < 7 { try await expectEventually { batch.waitingCount == number + 1 } }
    }
    for (number, handling) in handling.enumerated() {
      #expect(try await handling.value == (number % 4 == 0 ? "failed" : "handled, committed"))
    }
    let groups = alone.withLock { $0 }
    #expect(groups.count == 8)
    for lane in [[0, 1, 2, 3], [4, 5]] {
      let inOrder = lane.compactMap { groups[$0] }
      #expect(zip(inOrder, inOrder.dropFirst()).allSatisfy { $0 < $1 }, "\(groups)")
    }
    #expect(try await effects(log).sorted() == [1, 2, 3, 5, 6, 7])
  }

  @Test func queueSourceTypeAndIDTogetherAreTheKey() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = handlers(log)[0].1
    for queue in ["q", "r"] {
      for source in ["shop", "bank", nil] {
        _ = await handler.handle(try delivery(1, id: "x", source: source, queue: queue))
        _ = await handler.handle(try delivery(1, id: "x", source: source, queue: queue))
      }
    }
    #expect(try await effects(log).count == 6)
  }

  @Test func aForeignIDThatIsUsedTwiceIsNotADuplicate() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = handlers(log)[0].1
    #expect(await handler.handle(try delivery(1, id: "constant", isOurs: false)).words == "handled, committed")
    #expect(await handler.handle(try delivery(1, id: "constant", isOurs: false)).words == "handled, committed")
    #expect(await handler.handle(try delivery(2, id: "constant", isOurs: false)).words.hasPrefix("idReused"))
    #expect(try await effects(log) == [1])
    // An id that Warren made stands for itself.
    #expect(await handler.handle(try delivery(3, id: "ours")).words == "handled, committed")
    #expect(await handler.handle(try delivery(4, id: "ours")).words == "handled, committed")
    #expect(try await effects(log) == [1, 3])
  }

  @Test func withoutAnIDItIsHandledEachTimeAndTheContextSaysSo() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let told = Lock<[Bool]>([])
    let handler = log.inbox.on(Happened.self) { event, db, context in
      told.withLock { $0.append(context.isDeduplicated) }
      try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
    }
    for _ in 0..<2 { #expect(await handler.handle(try delivery(1, id: nil)).words == "handled, committed") }
    _ = await handler.handle(try delivery(2, id: "x"))
    #expect(try await effects(log) == [1, 1, 2])
    #expect(told.withLock { $0 } == [false, false, true])
  }

  @Test func whatIsOlderThanTheRecordsIsNotGuessedAbout() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let now = Date()
    func handler(_ options: Inbox.Options) -> InboxHandler {
      log.inbox(options).on(Happened.self) { event, db, _ in
        try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
      }
    }
    var options = Inbox.Options()
    options.window = .seconds(3600)
    let day = TimeInterval(86_400)
    // Nothing was removed yet: an old event is simply handled. Its record is removed at once.
    #expect(await handler(options).handle(try delivery(1, id: "a", at: now - 2 * day)).words == "handled, committed")
    #expect(try await log.count("warren_inbox") == 0)
    #expect(await handler(options).handle(try delivery(1, id: "a", at: now - 2 * day)).words.hasPrefix("tooOldToKnow"))
    #expect(await handler(options).handle(try delivery(2, id: "b", at: now - 3 * day)).words.hasPrefix("tooOldToKnow"))
    // Younger than all that was removed, and in another queue.
    #expect(await handler(options).handle(try delivery(3, id: "c", at: now - day)).words == "handled, committed")
    #expect(
      await handler(options).handle(try delivery(4, id: "d", at: now - 3 * day, queue: "other")).words
        == "handled, committed")
    options.tooOld = .handle
    #expect(await handler(options).handle(try delivery(5, id: "e", at: now - 3 * day)).words == "handled, committed")
    #expect(try await effects(log) == [1, 3, 4, 5])
  }

  @Test func aStoreThatIsAtFaultIsWaitedForAndTheEventIsNotBlamed() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let handler = handlers(log)[0].1
    try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = 1") }
    let handling = Task { await handler.handle(try delivery(1, id: "x")).words }
    try await expectEventually { log.committer.groupCount > 2 }
    try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = 0") }
    #expect(try await handling.value == "handled, committed")
    #expect(try await effects(log) == [1])
  }

  @Test func aCommitThatFailsAtItsEndFailsOnlyItsOwnEvent() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    try await log.database.write { db in
      try db.execute(sql: "CREATE TABLE one (id INTEGER PRIMARY KEY)")
      try db.execute(sql: "CREATE TABLE child (parent REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)")
    }
    let handler = log.inbox.on(Happened.self) { event, db, _ in
      try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
      if event.number == 2 { try db.execute(sql: "INSERT INTO child VALUES (99)") }
    }
    let held = try await HeldWriter(log.database)
    let handling = (0..<5).map { number in
      Task { await handler.handle(try delivery(number, id: "id-\(number)")).words }
    }
    try await expectEventually { log.committer.waitingCount == 5 }
    held.letGo()
    for (number, handling) in handling.enumerated() {
      #expect(try await handling.value == (number == 2 ? "failed" : "handled, committed"))
    }
    #expect(try await effects(log).sorted() == [0, 1, 3, 4])
  }

  @Test func whatAHandlerPublishesIsRecordedInItsCommitWithIDsThatRepeat() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    let publisher = FakeBroker()
    let seen = Lock<[EventID?]>([])
    let handler = log.inbox.on(Happened.self) { event, context in
      // As a publisher does inside a handler.
      let id = HandlerScope.current?.collect(EncodedEvent(event.number + 50), hasChosenID: false, for: publisher)
      let isFirst = seen.withLock { seen in
        seen.append(id)
        return seen.count == 1
      }
      context.onCommit { db in
        try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number])
        if isFirst { throw Refused() }
      }
    }
    #expect(await handler.handle(try delivery(1, id: "cause")).words == "failed")
    #expect(try await log.count("warren_outbox") == 0)
    #expect(await handler.handle(try delivery(1, id: "cause")).words == "handled, committed")
    #expect(await handler.handle(try delivery(1, id: "cause")).words == "handled, committed")
    #expect(try await log.outboxNumbers() == [51])
    #expect(try await effects(log) == [1])
    #expect(publisher.came.isEmpty)
    let ids = seen.withLock { $0 }
    #expect(ids.count == 2 && ids[0] == ids[1])
    let recorded = try await log.database.read { try String.fetchOne($0, sql: "SELECT id FROM warren_outbox") }
    #expect(recorded == ids[0]?.text)
  }

  @Test func causationAndCorrelationGoOn() async throws {
    let folder = try Folder()
    let log = try await log(folder)
    _ = await handlers(log)[0].1.handle(try delivery(1, id: "cause"))
    let found = try await log.database.read { db -> [String?] in
      guard let row = try Row.fetchOne(db, sql: "SELECT causation_id, correlation_id FROM warren_outbox") else {
        return []
      }
      return [row["causation_id"], row["correlation_id"]]
    }
    #expect(found == ["cause", "cause"])
  }
}

extension HandlerResult {
  /// The outcome in words, to compare.
  fileprivate var words: String {
    switch outcome {
    case .handled: isCommitted ? "handled, committed" : "handled"
    case .ignored(let reason): "ignored: \(reason)"
    case .failed: "failed"
    case .retry(let delay, let reason): "retry \(delay.map { "\($0)" } ?? ""): \(reason)"
    case .deadLetter(let reason): "\(reason.cause): \(reason.text)"
    }
  }
}
