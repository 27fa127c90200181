import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct ProjectionTests {
  @Test func behindAppendsItFollowsAndCanBeWaitedFor() async throws {
    let folder = try Folder()
    let log = try folder.log()
    _ = try await log.deposit(1, 2, to: "a")
    try await withProjector(log, Balances()) { _ in
      for number in 1...20 {
        let position = try await log.deposit(number, to: "b")
        try await log.wait(for: Balances(), reached: position)
        #expect(try await log.balance("b") == (1...number).reduce(0, +))
      }
      // Nothing of its types is behind this position, so there is nothing to wait for.
      let other = try await log.append([Happened(number: 1)], to: "other")
      try await log.wait(for: Balances(), reached: other.position)
      #expect(try await log.balance("a") == 3)
    }
    let status = try #require(try await log.projections().first)
    #expect(status.isLive && !status.isInline && status.problem == nil && status.poisoned.isEmpty)
    let late = try await log.deposit(1, to: "b")
    let error = await thrown(StoreError.self) {
      try await log.wait(for: Balances(), reached: late, timeout: .milliseconds(200))
    }
    #expect(error?.code == .timedOut)
    // It goes on where it was, each event once.
    try await withProjector(log, Balances()) { _ in try await log.wait(for: Balances(), reached: late) }
    #expect(try await log.balances() == ["a 3 2 2", "b 211 21 21"])
  }

  @Test func anotherProcessAppendsAndThisOneProjects() async throws {
    let folder = try Folder()
    let (log, other) = (try folder.log(), try folder.log())
    try await withProjector(log, Balances()) { _ in
      for _ in 0..<5 {
        let position = try await other.deposit(1, to: "a")
        try await log.wait(for: Balances(), reached: position)
      }
      #expect(try await log.balance("a") == 5)
      // And the one that appends can wait for the one that projects.
      let position = try await other.deposit(1, to: "a")
      try await other.wait(for: Balances(), reached: position)
      #expect(try await other.balance("a") == 6)
    }
  }

  @Test func insideAppendsItIsThereAtOnceAndFailsWithThem() async throws {
    let folder = try Folder()
    let log = try folder.log()
    _ = try await log.deposit(1, to: "a")
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    try await log.add(inline: balances)
    #expect(try await log.balance("a") == 1)
    let position = try await log.deposit(2, to: "a")
    #expect(try await log.balance("a") == 3)
    try await log.wait(for: balances, reached: position)
    let error = await thrown(ProjectionError.self) { _ = try await log.deposit(1, 13, to: "a") }
    #expect(error?.projection == "balances")
    #expect(error?.event.version == 4)
    #expect(error?.underlying is Balances.Bad)
    #expect(try await log.version(of: "a") == 2)
    #expect(try await log.balance("a") == 3)
    // In one group only the one that fails does.
    let held = try await HeldWriter(log.database)
    let failures = try await withThrowingTaskGroup(of: Bool.self) { group in
      for amount in 10...15 {
        group.addTask { await thrown(ProjectionError.self) { _ = try await log.deposit(amount, to: "b") } != nil }
      }
      try await expectEventually { log.committer.waitingCount == 6 }
      held.letGo()
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(failures.count { $0 } == 1)
    #expect(try await log.balance("b") == 10 + 11 + 12 + 14 + 15)
    // In the user's own transaction too.
    try await log.database.write { _ = try log.append([AccountEvent.deposited(cents: 5)], to: "a", in: $0) }
    #expect(try await log.balance("a") == 8)
  }

  @Test func aProcessWithoutAnInlineProjectionCannotAppendBehindItsBack() async throws {
    let folder = try Folder()
    let (log, other) = (try folder.log(), try folder.log())
    _ = try await other.deposit(1, to: "a")
    try await log.add(inline: Balances())
    let error = await thrown(StoreError.self) { _ = try await other.deposit(1, to: "a") }
    #expect(error?.code == .projectionMissing)
    #expect(error?.message.contains("balances/1") == true)
    // Its neighbours in a group have nothing to do with it.
    let held = try await HeldWriter(other.database)
    async let lost: StoreError? = thrown(StoreError.self) { _ = try await other.deposit(1, to: "a") }
    async let kept: Void = { _ = try await other.record(Happened(number: 1)) }()
    try await expectEventually { other.committer.waitingCount == 2 }
    held.letGo()
    try await kept
    #expect(await lost?.code == .projectionMissing)
    try await other.add(inline: Balances())
    _ = try await other.deposit(1, to: "a")
    #expect(try await log.balance("a") == 2)
    // Taken out, it stands still, and goes on behind appends.
    try await log.removeInline("balances")
    _ = try await log.deposit(1, to: "a")
    #expect(try await log.balance("a") == 2)
    let stale = await thrown(StoreError.self) { _ = try await other.deposit(1, to: "a") }
    #expect(stale?.code == .projectionMissing)
    try await withProjector(log, Balances()) { _ in
      try await log.wait(for: Balances(), reached: LogPosition(rawValue: 4))
    }
    #expect(try await log.balance("a") == 3)
    // And back inside.
    try await log.add(inline: Balances())
    _ = try await log.deposit(1, to: "a")
    #expect(try await log.balances() == ["a 4 4 4"])
  }

  @Test func aNewVersionIsBuiltBesideTheOldOneAndSwappedWhileReadersGoOn() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for account in 0..<10 { _ = try await log.deposit(Array(repeating: 1, count: 200), to: account) }
    let isDone = Lock(false)
    let total = Lock(2000)
    try await withProjector(log, Balances()) { first in
      try await log.wait(for: Balances(), reached: LogPosition(rawValue: 2000), timeout: .seconds(60))
      // Readers see whole tables of one version or the other, and never none.
      let reading = Task {
        var seen: [Int] = []
        while !isDone.withLock({ $0 }) {
          let (sum, events) = try await log.database.read { db in
            let row = try Row.fetchOne(db, sql: "SELECT sum(cents) AS c, sum(events) AS e FROM balances")
            return (row?["c"] as Int? ?? 0, row?["e"] as Int? ?? 0)
          }
          #expect(sum == events || sum == events * 10)
          seen.append(events)
        }
        return seen
      }
      let writing = Task {
        var last = LogPosition(rawValue: 0)
        while !isDone.withLock({ $0 }) {
          last = try await log.deposit(1, to: StreamName(trusted: "account-\(Int.random(in: 0..<10))"))
          total.withLock { $0 += 1 }
        }
        return last
      }
      let second = Balances(version: 2, factor: 10)
      let last = try await withProjector(log, second) { _ in
        try await log.wait(for: second, reached: LogPosition(rawValue: 2100), timeout: .seconds(60))
        isDone.withLock { $0 = true }
        let last = try await writing.value
        try await log.wait(for: second, reached: last, timeout: .seconds(60))
        return last
      }
      let seen = try await reading.value
      #expect(seen == seen.sorted())
      #expect((seen.first ?? 0) >= 2000)
      #expect(try await log.projections().map(\.version) == [2])
      try await expectEventually { first.status == .superseded(by: 2) }
      let error = await thrown(StoreError.self) {
        try await log.wait(for: Balances(), reached: last, timeout: .milliseconds(100))
      }
      #expect(error?.code == .timedOut)
    }
    let sums = try await log.database.read { db in
      try Int.fetchAll(db, sql: "SELECT sum(cents) FROM balances UNION ALL SELECT sum(events) FROM balances")
    }
    let events = total.withLock { $0 }
    #expect(sums == [events * 10, events])
    #expect(
      try await log.database.read {
        try String.fetchAll($0, sql: "SELECT name FROM sqlite_master WHERE name LIKE 'balances%' AND type = 'table'")
      } == ["balances"])
  }

  /// What comes in between the last look and the swap may be more than a page shows at once.
  @Test func theSwapPassesNothingThatItsPageDoesNotShow() async throws {
    struct Sizes: Projection {
      let name = "sizes", version = 1
      let eventTypes = [Long.eventType]
      func create(_ context: ProjectionContext) throws {
        try context.db.execute(sql: "CREATE TABLE \(context.table("sizes")) (position INTEGER)")
      }
      func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
        try context.db.execute(
          sql: "INSERT INTO \(context.table("sizes")) VALUES (?)", arguments: [event.position.rawValue])
      }
    }
    struct Long: Event {
      static let eventType: EventType = "thing.long"
      var text: String
    }
    let folder = try Folder()
    let log = try folder.log()
    let session = ProjectionSession(
      runner: ProjectionRunner(projection: Sizes(), log: log, handling: .stop), kind: .inline)
    _ = try await session.begin()
    // More bytes than a page has, and fewer events than a swap takes.
    let events = (0..<100).map { _ in Long(text: String(repeating: "x", count: 60_000)) }
    let held = try await HeldWriter(log.database)
    async let appended = log.append(events, to: "a")
    try await expectEventually { log.committer.waitingCount == 1 }
    async let step = session.step()
    try await expectEventually { log.committer.waitingCount == 2 }
    held.letGo()
    _ = try await (appended, step)
    while try await session.step() != .idle {}
    #expect(try await log.projections().first?.isLive == true)
    #expect(try await log.count("sizes") == 100)
  }

  @Test func theSwapTakesWhatTheOldVersionHasDoneSinceTheLastLook() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let sessions = [Balances(version: 1, tells: true), Balances(version: 2, tells: true, factor: 10)].map {
      ProjectionSession(runner: ProjectionRunner(projection: $0, log: log, handling: .stop), kind: .async)
    }
    _ = try await sessions[0].begin()
    while try await sessions[0].step() != .idle {}
    _ = try await log.deposit(1, 1, to: "a")
    while try await sessions[0].step() != .idle {}
    _ = try await sessions[1].begin()
    #expect(try await sessions[1].step() == .more)
    #expect(try await log.projections().map(\.position.rawValue) == [2, 2])
    _ = try await log.deposit(1, 1, to: "a")
    // Both have looked before either writes.
    let held = try await HeldWriter(log.database)
    async let first = sessions[0].step()
    try await expectEventually { log.committer.waitingCount == 1 }
    async let second = sessions[1].step()
    try await expectEventually { log.committer.waitingCount == 2 }
    held.letGo()
    _ = try await (first, second)
    #expect(try await log.projections().map(\.version) == [2])
    while try await sessions[1].step() != .idle {}
    #expect(try await log.balances() == ["a 40 4 4"])
    let told = try await log.database.read { db in
      try Data.fetchAll(db, sql: "SELECT body FROM warren_outbox ORDER BY position").map {
        try JSONDecoder().decode(Rich.self, from: $0).version
      }
    }
    #expect(told == [1, 2, 3, 4])
  }

  /// A group that a failure takes back runs again, from what there was before.
  @Test func aFailureInTheGroupOfASwapInsideAppendsCostsNobodyElseHisAppend() async throws {
    struct No: Error {}
    let folder = try Folder()
    let log = try folder.log()
    try await log.add(inline: Balances())
    _ = try await log.deposit(1, to: "a")
    let session = ProjectionSession(
      runner: ProjectionRunner(projection: Balances(version: 2, factor: 10), log: log, handling: .stop), kind: .inline)
    _ = try await session.begin()
    #expect(try await session.step() == .more)
    let held = try await HeldWriter(log.database)
    async let before: StoreError? = thrown(StoreError.self) { _ = try await log.deposit(1, to: "a") }
    try await expectEventually { log.committer.waitingCount == 1 }
    async let swap = session.step()
    try await expectEventually { log.committer.waitingCount == 2 }
    async let failing: No? = thrown(No.self) { try await log.transact { _ in throw No() } }
    try await expectEventually { log.committer.waitingCount == 3 }
    async let after: StoreError? = thrown(StoreError.self) { _ = try await log.deposit(1, to: "a") }
    try await expectEventually { log.committer.waitingCount == 4 }
    held.letGo()
    #expect(await failing != nil)
    #expect(await before == nil)
    #expect(await after == nil)
    _ = try await swap
    while try await session.step() != .idle {}
    #expect(try await log.projections().map(\.version) == [2])
    #expect(try await log.balances() == ["a 30 3 3"])
    // What a transaction of the service's own takes back, it takes back here.
    try? await log.database.write { db in
      log.inline.remove("balances", db)
      throw No()
    }
    _ = try await log.deposit(1, to: "a")
    #expect(try await log.balances() == ["a 40 4 4"])
  }

  @Test func whatAProjectionTellsIsToldOnceAcrossVersions() async throws {
    let folder = try Folder()
    let log = try folder.log()
    // Before there was a projection: not told at all.
    _ = try await log.deposit(1, 1, to: "a")
    let (first, second) = (Balances(version: 1, tells: true), Balances(version: 2, tells: true))
    try await withProjector(log, first) { _ in
      try await log.wait(for: first, reached: LogPosition(rawValue: 2))
      for _ in 0..<50 { _ = try await log.deposit(1, to: "a") }
      let writing = Task {
        for _ in 0..<50 { _ = try await log.deposit(1, to: "a") }
      }
      try await withProjector(log, second) { _ in
        try await writing.value
        try await log.wait(for: second, reached: try await log.status().head)
      }
    }
    // What the first version had not seen when it ended is told by the next one.
    _ = try await log.deposit(1, to: "a")
    let third = Balances(version: 3, tells: true)
    try await withProjector(log, third) { _ in
      try await log.wait(for: third, reached: try await log.status().head)
    }
    let told = try await log.database.read { db in
      try Data.fetchAll(db, sql: "SELECT body FROM warren_outbox ORDER BY position").map {
        try JSONDecoder().decode(Rich.self, from: $0).version
      }
    }
    #expect(told == Array(3...103))
  }

  @Test func anInlineVersionReplacesOneBehindAppendsAndTheOtherWayRound() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let (first, second, third) = (
      Balances(version: 1, tells: true), Balances(version: 2, tells: true), Balances(version: 3, tells: true)
    )
    try await withProjector(log, first) { _ in
      // In use: what is appended from now on is told.
      try await log.wait(for: first, reached: LogPosition(rawValue: 0), timeout: .seconds(30))
      try await log.wait(for: first, reached: try await log.deposit(1, to: "a"))
    }
    _ = try await log.deposit(1, to: "a")
    try await log.add(inline: second)
    _ = try await log.deposit(1, to: "a")
    #expect(try await log.balances() == ["a 3 3 3"])
    try await withProjector(log, third) { _ in
      try await log.wait(for: third, reached: try await log.deposit(1, to: "a"))
      try await log.wait(for: third, reached: try await log.deposit(1, to: "a"))
    }
    #expect(try await log.balances() == ["a 5 5 5"])
    #expect(log.inline.areNone)
    #expect(try await log.count("warren_outbox") == 5)
    let old = await thrown(StoreError.self) { try await log.add(inline: first) }
    #expect(old?.code == .projectionMissing)
  }

  @Test func twoProjectorsDoTheWorkOfOne() async throws {
    let folder = try Folder()
    let (log, other) = (try folder.log(), try folder.log())
    let first = log.projector(Balances())
    let firstRun = Task { try await first.run() }
    try await expectEventually { first.status == .active }
    try await withProjector(other, Balances()) { second in
      for _ in 0..<20 { _ = try await log.deposit(1, to: "a") }
      try await expectEventually { second.status == .waiting }
      firstRun.cancel()
      try await firstRun.value
      let position = try await log.deposit(1, to: "a")
      try await other.wait(for: Balances(), reached: position)
      #expect(second.status == .active)
    }
    #expect(try await log.balances() == ["a 21 21 21"])
  }

  @Test func aProjectionMustNotWriteToTheLogBehindItsContext() async throws {
    struct Sneaky: Projection {
      let name = "sneaky", version = 1
      let eventTypes = [Happened.eventType]
      let log: EventLog
      func create(_ context: ProjectionContext) throws {}
      func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
        try log.record(Announced(number: 1), in: context.db)
      }
    }
    let folder = try Folder()
    let log = try folder.log()
    try await log.add(inline: Sneaky(log: log))
    let error = await thrown(ProjectionError.self) { try await log.append([Happened(number: 1)], to: "a") }
    #expect((error?.underlying as? StoreError)?.code == .invalidConfiguration)
  }

  @Test func aTableThatIsNotItsOwnIsNotTaken() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.write { try $0.execute(sql: "CREATE TABLE balances (mine INTEGER)") }
    let error = await thrown(StoreError.self) { try await log.add(inline: Balances()) }
    #expect(error?.code == .invalidConfiguration)
    #expect(error?.message.contains("\"balances\"") == true)
    let name = await thrown(StoreError.self) { try await log.add(inline: Balances(version: 0)) }
    #expect(name?.code == .invalidConfiguration)
  }

  @Test func rebuiltAndLiveAlwaysAgree() async throws {
    var random = SeededGenerator()
    for _ in 0..<4 {
      let folder = try Folder()
      let log = try folder.log()
      let isInline = random.oneIn(2)
      let first = Balances()
      var last = LogPosition(rawValue: 0)
      func work(_ count: Int) async throws {
        for _ in 0..<count {
          let events = (0..<random.int(1...4)).map { _ in
            random.oneIn(2) ? AccountEvent.deposited(cents: random.int(1...9)) : .withdrawn(cents: random.int(1...9))
          }
          last = try await log.append(events, to: try StreamName("s-\(random.int(0...5))")).position
        }
      }
      try await work(random.int(0...50))
      if isInline { try await log.add(inline: first) }
      let running = Task { if !isInline { try await log.projector(first).run() } }
      try await work(random.int(1...100))
      try await log.wait(for: first, reached: last)
      let live = try await log.balances()
      running.cancel()
      try await running.value
      let second = Balances(version: 2)
      try await withProjector(log, second) { _ in try await log.wait(for: second, reached: last) }
      #expect(try await log.balances() == live, random.replay)
      #expect(!live.isEmpty)
    }
  }
}

extension EventLog {
  fileprivate func deposit(_ cents: [Int], to account: Int) async throws -> LogPosition {
    try await append(cents.map { AccountEvent.deposited(cents: $0) }, to: try StreamName("account-\(account)")).position
  }
}
