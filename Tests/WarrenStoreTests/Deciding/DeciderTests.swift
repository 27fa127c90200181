import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct DeciderTests {
  @Test func aCommandLoadsDecidesAndAppends() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let opened = try await log.run(Account.self, "1", .open(owner: "Bo"))
    #expect(opened.events == [.opened(owner: "Bo")])
    #expect(opened.version == 1)
    let done = try await log.run(Account.self, "1", .deposit(cents: 500), options: .init(actor: "clerk"))
    #expect(done.state == Account(owner: "Bo", cents: 500))
    #expect(done.version == 2 && done.position.rawValue == 2)
    let refusal = await thrown(Account.Refusal.self) { try await log.run(Account.self, "1", .withdraw(cents: 501)) }
    #expect(refusal == .notEnough(cents: 500))
    let nothing = try await log.run(Account.self, "1", .nothing)
    #expect(nothing.events.isEmpty && nothing.version == 2 && nothing.appended.first == nil)
    #expect(try await log.all(.init(stream: "account-1")).map(\.actor) == [nil, "clerk"])
  }

  @Test func aRequestIsRunOnce() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.run(Account.self, "1", .open(owner: "Bo"))
    let first = try await log.run(Account.self, "1", .deposit(cents: 5), request: "r")
    try await log.run(Account.self, "1", .deposit(cents: 7))
    let again = try await log.run(Account.self, "1", .deposit(cents: 5), request: "r")
    #expect(again.events.isEmpty && again.appended.isRepeat)
    #expect(again.version == first.version && again.position == first.position)
    #expect(again.state.cents == 12)
    let elsewhere = await thrown(StoreError.self) {
      try await log.run(Account.self, "2", .open(owner: "Al"), request: "r")
    }
    #expect(elsewhere?.code == .requestReused)
    // Many at once.
    let results = try await withThrowingTaskGroup(of: Decision<Account>.self) { group in
      for _ in 0..<10 { group.addTask { try await log.run(Account.self, "1", .deposit(cents: 1), request: "many") } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(results.count { !$0.appended.isRepeat } == 1)
    #expect(try await log.state(Account.self, "1").state.cents == 13)
  }

  @Test func whoLosesDecidesAgainWithWhatHasHappened() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.run(Account.self, "1", .open(owner: "Bo"))
    try await log.run(Account.self, "1", .deposit(cents: 10))
    let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<20 {
        group.addTask {
          do {
            try await log.run(Account.self, "1", .withdraw(cents: 1), attempts: 100)
            return true
          } catch is Account.Refusal {
            return false
          }
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(outcomes.count { $0 } == 10)
    #expect(try await log.state(Account.self, "1").state.cents == 0)
    #expect(try await log.version(of: "account-1") == 12)
  }

  @Test func inATransactionItGoesWithIt() async throws {
    let folder = try Folder()
    let log = try folder.log()
    struct Stop: Error {}
    try? await log.transact { db in
      try log.run(Account.self, "1", .open(owner: "Bo"), in: db)
      throw Stop()
    }
    #expect(try await log.version(of: "account-1") == 0)
    let total = try await log.transact { db in
      try log.run(Account.self, "1", .open(owner: "Bo"), in: db)
      try log.run(Account.self, "2", .open(owner: "Al"), in: db)
      try log.run(Account.self, "1", .deposit(cents: 5), in: db)
      return try log.run(Account.self, "2", .deposit(cents: 5), request: "r", in: db).state.cents
    }
    #expect(total == 5)
    let again = try await log.transact { try log.run(Account.self, "2", .deposit(cents: 5), request: "r", in: $0) }
    #expect(again.appended.isRepeat && again.state.cents == 5)
  }

  @Test func theStateOfAnEarlierMomentIsFound() async throws {
    let folder = try Folder()
    let log = try folder.log()
    func day(_ n: Int) -> Date { Date(milliseconds: Int64(n) * 86_400_000) }
    try await log.append([AccountEvent.opened(owner: "Bo")], to: "account-1", options: .init(time: day(1)))
    for n in 2...9 {
      try await log.append([AccountEvent.deposited(cents: 1)], to: "account-1", options: .init(time: day(n)))
      try await log.append([Happened(number: n)], to: "other")
    }
    func cents(_ moment: StreamMoment) async throws -> Int {
      try await log.state(Account.self, "1", at: moment).state.cents
    }
    #expect(try await cents(.latest) == 8)
    #expect(try await cents(.version(1)) == 0)
    #expect(try await cents(.version(4)) == 3)
    #expect(try await cents(.version(99)) == 8)
    #expect(try await cents(.position(LogPosition(rawValue: 5))) == 2)
    #expect(try await cents(.date(day(4))) == 3)
    #expect(try await cents(.date(day(0))) == 0)
    #expect(try await log.state(Account.self, "1", at: .date(day(0))).version == 0)
    #expect(try await log.state(Account.self, "1", at: .date(day(4))).version == 4)
  }

  @Test func snapshotsAreUsedAndNeverNeeded() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.run(Account.self, "1", .open(owner: "Bo"))
    for _ in 0..<11 { try await log.run(Account.self, "1", .deposit(cents: 1)) }
    #expect(try await log.count("warren_snapshots") == 1)
    func change(_ sql: String) async throws { try await log.database.write { try $0.execute(sql: sql) } }
    // What it says shows that it is used.
    try await change("UPDATE warren_snapshots SET state = CAST('{\"owner\":\"Bo\",\"cents\":1000}' AS BLOB)")
    #expect(try await log.state(Account.self, "1").state.cents == 1002)
    #expect(try await log.state(Account.self, "1", at: .version(7)).state.cents == 6)
    #expect(try await log.state(Account.self, "1", at: .position(LogPosition(rawValue: 12))).state.cents == 11)
    try await change("UPDATE warren_snapshots SET state = CAST('{}' AS BLOB)")
    #expect(try await log.state(Account.self, "1").state.cents == 11)
    try await change(
      "UPDATE warren_snapshots SET format = 2, state = CAST('{\"owner\":\"Bo\",\"cents\":1000}' AS BLOB)")
    #expect(try await log.state(Account.self, "1").state.cents == 11)
    // The next one takes its place.
    for _ in 0..<4 { try await log.run(Account.self, "1", .deposit(cents: 1)) }
    #expect(
      try await log.database.read {
        try Int.fetchAll($0, sql: "SELECT format FROM warren_snapshots WHERE version = 15")
      }
        == [1])
    #expect(try await log.state(Account.self, "1").state.cents == 15)
  }

  @Test func anEventThatCannotBeReadIsNamed() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broken = EncodedEvent(metadata: EventMetadata(type: "account.deposited"), body: Data("{}".utf8))
    try await log.append([StreamAppend(encoded: [broken], to: "account-1")])
    let error = await thrown(StoreError.self) { try await log.run(Account.self, "1", .nothing) }
    #expect(error?.code == .undecodable)
    #expect(error?.message.contains("event 1 of stream account-1") == true)
  }
}
