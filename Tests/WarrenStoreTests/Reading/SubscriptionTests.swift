import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct SubscriptionTests {
  private final class Seen: Sendable {
    private let state = Lock<[[RecordedEvent]]>([])
    func add(_ batch: [RecordedEvent]) { state.withLock { $0.append(batch) } }
    var batches: [[RecordedEvent]] { state.withLock { $0 } }
    var events: [RecordedEvent] { batches.flatMap { $0 } }
  }

  private func with<R>(
    _ subscription: Subscription, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> R
  ) async throws -> R {
    let running = Task { try await subscription.run() }
    do {
      let result = try await body()
      running.cancel()
      try await running.value
      return result
    } catch {
      running.cancel()
      _ = await running.result
      throw error
    }
  }

  @Test func eventsComeInOrderInBatchesAndGoOnBehindTheCheckpoint() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append((1...25).map { Happened(number: $0) }, to: "a")
    var options = Subscription.Options()
    options.batch = 10
    let seen = Seen()
    try await with(log.subscription("all", options: options) { seen.add($0) }) {
      try await expectEventually { seen.events.count == 25 }
      try await log.append([Happened(number: 26)], to: "b")
      try await expectEventually { seen.events.count == 26 }
      try await expectEventually {
        try await log.readers().contains { $0.name == "subscription all" && $0.events == 26 }
      }
    }
    #expect(seen.batches.map(\.count) == [10, 10, 5, 1])
    #expect(seen.events.map(\.number) == Array(1...26))
    try await log.append([Happened(number: 27)], to: "b")
    try await log.append([Announced(number: 28)], to: "b")
    try await log.append([Happened(number: 29)], to: "b")
    let again = Seen()
    try await with(log.subscription("all", to: [Happened.eventType]) { again.add($0) }) {
      try await expectEventually { again.events.count == 2 }
    }
    #expect(again.events.map(\.number) == [27, 29])
    options.start = .end
    let late = Seen()
    try await with(log.subscription("late", options: options) { late.add($0) }) {
      try await expectEventually { try await log.readers().contains { $0.name == "subscription late" } }
      try await log.append([Happened(number: 30)], to: "b")
      try await expectEventually { late.events.count == 1 }
    }
    #expect(late.events.map(\.number) == [30])
  }

  @Test func aBatchWhoseHandlerThrowsComesAgain() async throws {
    let folder = try Folder()
    let log = try folder.log()
    struct NotNow: Error {}
    let tries = Lock(0)
    try await log.append([Happened(number: 1), Happened(number: 2)], to: "a")
    let subscription = log.subscription("retry") { events in
      let isFirst = tries.withLock { tries in
        tries += 1
        return tries == 1
      }
      if isFirst { throw NotNow() }
      #expect(events.map(\.number) == [1, 2])
    }
    try await with(subscription) {
      try await expectEventually { subscription.problem != nil }
      try await expectEventually { tries.withLock { $0 } == 2 && subscription.problem == nil }
    }
  }

  @Test func withTheDatabaseItsEffectIsOnceAndStaysWithTheCheckpoint() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.write { try $0.execute(sql: "CREATE TABLE effect (n INTEGER)") }
    struct NotNow: Error {}
    let fails = Lock(true)
    let subscription = log.subscription("effect") { events, db in
      for event in events { try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [event.number]) }
      if fails.withLock({ $0 }) { throw NotNow() }
    }
    try await log.append((1...5).map { Happened(number: $0) }, to: "a")
    try await with(subscription) {
      try await expectEventually { subscription.problem != nil }
      #expect(try await log.count("effect") == 0)
      fails.withLock { $0 = false }
      try await expectEventually { try await log.count("effect") == 5 }
    }
    #expect(try await log.database.read { try Int.fetchAll($0, sql: "SELECT n FROM effect") } == [1, 2, 3, 4, 5])
  }

  @Test func oneOwnerAtATimeAndTheNextGoesOn() async throws {
    let folder = try Folder()
    let (log, other) = (try folder.log(), try folder.log())
    let (one, two) = (Seen(), Seen())
    let first = log.subscription("owner") { one.add($0) }
    let firstRun = Task { try await first.run() }
    try await expectEventually { first.isActive }
    let second = other.subscription("owner") { two.add($0) }
    try await with(second) {
      for number in 1...20 { try await log.append([Happened(number: number)], to: "a") }
      try await expectEventually {
        try await log.readers().contains { $0.name == "subscription owner" && $0.events == 20 }
      }
      #expect(!second.isActive && two.batches.isEmpty)
      firstRun.cancel()
      try await firstRun.value
      try await log.append([Happened(number: 21)], to: "a")
      try await expectEventually { two.events.count == 1 }
      #expect(second.isActive)
    }
    #expect((one.events + two.events).map(\.number) == Array(1...21))
  }

  @Test func recordedEventsAreKeptForWhoAsksForThemUntilItHasLapsed() async throws {
    let folder = try Folder()
    let log = try folder.log()
    var options = Subscription.Options()
    options.keepsRecorded = .seconds(3600)
    options.batch = 7
    let seen = Seen()
    let audit = { log.subscription("audit", options: options) { seen.add($0) } }
    try await with(audit()) {
      try await expectEventually { try await log.readers().contains { $0.isRetaining } }
    }
    // In two tables, in one order; relayed and confirmed long before they are read.
    for number in 1...30 {
      if number % 3 == 0 {
        try await log.append([Happened(number: number)], to: "a")
      } else {
        try await log.record(Happened(number: number))
      }
    }
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { try await log.status().checkpoint == log.status().head }
      #expect(try await log.count("warren_outbox") == 20)
      try await with(audit()) {
        try await expectEventually { seen.events.count == 30 }
        #expect(seen.events.map(\.number) == Array(1...30))
        #expect(seen.batches.allSatisfy { $0.count <= 7 })
        #expect(seen.events.filter { $0.version == 0 }.count == 20)
        try await expectEventually {
          try await log.readers().contains { $0.name == "subscription audit" && $0.position.rawValue == 30 }
        }
      }
      // What is read goes with the next commit of the relay.
      try await log.record(Happened(number: 31))
      try await expectEventually { try await log.count("warren_outbox") == 1 }
      // Away for too long.
      try await log.database.write {
        try $0.execute(sql: "UPDATE warren_readers SET moved = moved - 3700000 WHERE name = 'subscription audit'")
      }
      try await log.record(Happened(number: 32))
      try await expectEventually { try await log.count("warren_outbox") == 0 }
    }
    #expect(try await log.readers().first { $0.name == "subscription audit" }?.hasLapsed == true)
    let error = await thrown(StoreError.self) { try await audit().run() }
    #expect(error?.code == .lapsed)
    try await log.restart(subscription: "audit", at: .end)
    try await with(audit()) {
      try await log.append([Happened(number: 33)], to: "a")
      try await expectEventually { seen.events.last?.number == 33 }
    }
  }

  @Test(arguments: ["", "Ü", "a b", String(repeating: "a", count: 65)])
  func namesAndOptionsThatCannotWorkAreErrors(_ name: String) async throws {
    let folder = try Folder()
    let log = try folder.log()
    let error = await thrown(StoreError.self) { try await log.subscription(name) { _ in }.run() }
    #expect(error?.code == .invalidConfiguration)
    var options = Subscription.Options()
    options.batch = 0
    let batch = await thrown(StoreError.self) { try await log.subscription("a", options: options) { _ in }.run() }
    #expect(batch?.message.contains("batch") == true)
  }
}
