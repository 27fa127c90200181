import Foundation
import GRDB
import MetricsTestKit
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct ReaderMetricsTests {
  private let metrics = TestMetrics()

  private func log(_ folder: Folder) throws -> EventLog {
    try folder.log { options in
      options.metrics = metrics
      options.readerLook = .milliseconds(5)
    }
  }

  private func dimensions(_ kind: String, _ name: String, _ version: Int? = nil) -> [(String, String)] {
    [("warren.source", "tests"), ("warren.reader.kind", kind), ("warren.reader.name", name)]
      + (version.map { [("warren.reader.version", "\($0)")] } ?? [])
  }

  private func operation(_ name: String) -> [(String, String)] {
    [("messaging.system", "warren"), ("messaging.operation.type", "process"), ("messaging.operation.name", name)]
  }

  /// Nil when there is none.
  private func gauge(_ label: String, _ dimensions: [(String, String)]) -> Double? {
    try? metrics.expectGauge("warren.reader.\(label)", dimensions).lastValue
  }

  @Test func aProjectionSaysHowFarItIsBehindAndWhatStopsIt() async throws {
    let folder = try Folder()
    let log = try log(folder)
    let balances = Balances()
    let me = dimensions("projection", "balances", 1)
    _ = try await log.deposit(1, 2, 3, to: "a")
    try await log.append([Happened(number: 1)], to: "other")
    try await withProjector(log, balances) { _ in
      try await expectEventually {
        gauge("lag.events", me) == 0 && gauge("position", me) == 4 && gauge("head", me) == 4
      }
      #expect(gauge("lag.age", me) == 0 && gauge("stopped", me) == 0)
      for state in ["skipped", "held", "behind", "retry"] {
        #expect(gauge("poisoned.events", me + [("warren.state", state)]) == 0)
      }
      // It stands before 13, and one that it wants is behind that; what it does not want does not count.
      balances.poison.withLock { $0 = 13 }
      _ = try await log.deposit(1, 13, 1, to: "a")
      try await log.append([Happened(number: 2)], to: "other")
      try await expectEventually {
        gauge("stopped", me) == 1 && gauge("lag.events", me) == 2 && gauge("head", me) == 8
      }
      // Nobody works, and the age grows.
      try await log.database.write { try $0.execute(sql: "UPDATE warren_events SET recorded = recorded - 60000") }
      try await expectEventually { (gauge("lag.age", me) ?? 0) >= 60 }
      #expect((gauge("lag.age", me) ?? 0) < 120)
    }
    let project = me + operation("project")
    #expect(try metrics.expectCounter("messaging.client.consumed.messages", project).totalValue == 4)
    #expect(
      try metrics.expectTimer("messaging.process.duration", project + [("warren.outcome", "handled")]).values.count >= 1
    )
    #expect(
      try metrics.expectTimer("messaging.process.duration", project + [("warren.outcome", "failed")]).values.count >= 1)
    // Who does not work has nothing to say.
    try await expectEventually { gauge("lag.events", me) == nil }
  }

  @Test func poisonedEventsAreCountedByStateAndASupersededVersionIsSilent() async throws {
    let folder = try Folder()
    let log = try log(folder)
    let balances = Balances()
    balances.poison.withLock { $0 = 13 }
    _ = try await log.deposit(1, 13, 1, 1, to: "a")
    let (first, second) = (dimensions("projection", "balances", 1), dimensions("projection", "balances", 2))
    try await withProjector(log, balances, poison: .hold) { _ in
      try await expectEventually {
        gauge("poisoned.events", first + [("warren.state", "held")]) == 1
          && gauge("poisoned.events", first + [("warren.state", "behind")]) == 2
      }
      try await withProjector(log, Balances(version: 2)) { _ in
        try await expectEventually {
          gauge("lag.events", second) == 0 && gauge("position", second) == 4 && gauge("lag.events", first) == nil
        }
      }
    }
  }

  @Test func aSubscriptionWhoseHandlerHangsOrThrowsFallsBehindVisibly() async throws {
    let folder = try Folder()
    let log = try log(folder)
    let me = dimensions("subscription", "mailer")
    struct NotNow: Error {}
    let (hangs, throwing) = (Lock(true), Lock(true))
    var options = Subscription.Options()
    options.batch = 2
    options.keepsRecorded = .seconds(3600)
    let subscription = log.subscription("mailer", to: [Happened.eventType], options: options) { _ in
      while hangs.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
      if throwing.withLock({ $0 }) { throw NotNow() }
    }
    try await log.append([Happened(number: 1), Happened(number: 2)], to: "a")
    try await log.append([Announced(number: 3)], to: "a")
    // Recorded, and kept for it.
    try await log.record(Happened(number: 4))
    let running = Task { try await subscription.run() }
    try await expectEventually { gauge("lag.events", me) == 3 && gauge("stopped", me) == 0 }
    hangs.withLock { $0 = false }
    try await expectEventually { gauge("stopped", me) == 1 }
    throwing.withLock { $0 = false }
    try await expectEventually { gauge("lag.events", me) == 0 && gauge("stopped", me) == 0 }
    running.cancel()
    try await running.value
    let subscribe = me + operation("subscribe")
    #expect(try metrics.expectCounter("messaging.client.consumed.messages", subscribe).totalValue == 3)
  }

  @Test func withoutAMetricsSystemNobodyLooks() async throws {
    let folder = try Folder()
    let log = try folder.log()
    #expect(ReaderMetrics(log.metrics, .projection, name: "a", version: 1) == nil)
    #expect(ReaderMetrics.watch(nil, log, "projection a/1", isStopped: { false }) == nil)
  }

  @Test func theLagIsCountedUpToABoundAndNeverTooSmall() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let many = ReaderLag.mostCounted
    // Between two that are wanted.
    try await log.append([Happened(number: 0)], to: "a")
    try await log.append((1...many).map { Announced(number: $0) }, to: "b")
    try await log.append([Happened(number: 1)], to: "a")
    func lag(behind position: Int64, _ types: [EventType], recorded: Bool = false) async throws -> Int {
      try await log.reading { db in
        try ReaderLag(
          behind: position, head: try ProjectionSession.head(db), types: types, wantsRecorded: recorded,
          now: Int64(wallClockMilliseconds()), db
        ).events
      }
    }
    let (wanted, other) = (Happened.eventType, Announced.eventType)
    #expect(try await lag(behind: 0, [wanted]) == 2)
    #expect(try await lag(behind: 1, [wanted]) == 1)
    #expect(try await lag(behind: Int64(many) + 2, [wanted]) == 0)
    #expect(try await lag(behind: 0, [other]) == many)
    #expect(try await lag(behind: 1, []) == many + 1)
    #expect(try await lag(behind: 2, [other, wanted]) == many)
    #expect(try await lag(behind: 2, []) == many)
    // More than are counted: all positions.
    try await log.append([Announced(number: 0)], to: "b")
    #expect(try await lag(behind: 0, [other]) == many + 3)
    try await log.record(Happened(number: 2))
    #expect(try await lag(behind: Int64(many) + 2, [wanted], recorded: true) == 1)
    #expect(try await lag(behind: Int64(many) + 2, [wanted]) == 0)
    #expect(try await lag(behind: Int64(many) + 2, [other], recorded: true) == 1)
  }

  /// The time of a look must not grow with the log: it goes through the index of types, from where the reader is.
  @Test func theLooksUseTheIndex() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append((1...100).map { Happened(number: $0) }, to: "a")
    let plans = Lock<[String]>([])
    try await log.database.write { db in
      var statements: [String] = []
      db.trace { event in
        if case .statement(let statement) = event { statements.append(statement.expandedSQL) }
      }
      _ = try ReaderLag(
        behind: 50, head: 100, types: [Happened.eventType, Announced.eventType], wantsRecorded: true, now: 0, db)
      db.trace(options: [])
      for statement in statements {
        let rows = try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN \(statement)")
        plans.withLock { $0 += rows.map { $0["detail"] as String } }
      }
    }
    let tables = plans.withLock { $0.filter { $0.contains("warren_events") } }
    #expect(!tables.isEmpty)
    #expect(tables.allSatisfy { $0.hasPrefix("SEARCH") }, "\(tables)")
  }

  @Test func whoAsksTheFileSeesTheLagOfReadersOfOtherProcesses() async throws {
    let folder = try Folder()
    let (log, other) = (try folder.log(), try folder.log())
    try await withProjector(log, Balances()) { _ in
      try await log.wait(for: Balances(), reached: try await log.deposit(1, to: "a"))
    }
    // Nothing of its types: its checkpoint does not move, and it is not behind.
    try await log.append([Happened(number: 1)], to: "other")
    let idle = try #require(try await other.projections().first)
    #expect(idle.position.rawValue == 1 && idle.head.rawValue == 2 && idle.lag == .none)
    _ = try await log.deposit(1, 1, to: "a")
    #expect(try await other.projections().first?.lag.events == 2)
    #expect(try await other.readers().first { $0.name == "projection balances/1" }?.lag.events == 2)
    try await log.record(Happened(number: 2))
    #expect(try await other.readers().first { $0.name == "relay" }?.lag.events == 1)
    // Inside the appends it cannot be behind.
    try await other.add(inline: Balances())
    _ = try await other.deposit(1, to: "a")
    #expect(try await other.projections().first?.lag == ReaderLag.none)
    #expect(try await other.readers().first { $0.name == "projection balances/1" }?.lag == ReaderLag.none)
    // A version that is gone leaves nothing behind.
    try await other.drop(projection: "balances")
    let left = try await other.database.read {
      try Int.fetchOne($0, sql: "SELECT count(*) FROM warren_meta WHERE name LIKE 'types %'")
    }
    #expect(left == 0)
  }
}
