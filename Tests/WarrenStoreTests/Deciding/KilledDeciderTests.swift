import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// Processes that command the same deciders and project their events are killed; then everything is compared with a plain
/// sum over the events.
struct KilledDeciderTests {
  /// The decider of `Tests/StoreWorker`, as far as its stored state goes.
  private struct Counter: SnapshottingDecider, Equatable {
    struct Event: Warren.Event {
      static let eventType: EventType = "counter.added"
      var amount: Int
    }
    enum Refusal: Error { case never }
    static let category = "counter"
    static let snapshotEvery = 7
    var sum = 0
    var events = 0
    func decide(_ command: Int) throws(Refusal) -> [Event] { [] }
    mutating func evolve(_ event: Event) {
      sum += event.amount
      events += 1
    }
  }

  @Test func statesSnapshotsAndProjectionsAgreeWithTheEvents() async throws {
    var random = SeededGenerator()
    let folder = try Folder()
    let (processes, count) = (3, 40)
    let seeds = (0..<processes).map { _ in random.next() }
    func start(_ index: Int, _ environment: [String: String] = [:]) throws -> Worker {
      // The same seed means the same requests: what was decided before the kill is not decided again.
      try Worker([folder.file, "counters", "\(count)", "\(seeds[index])"], environment)
    }
    let log = try folder.log()
    for _ in 0..<5 {
      let places = ["beforeCommit", "afterCommit"]
      let workers = try (0..<processes).map { index in
        try start(index, index == 0 ? [:] : ["WARREN_CRASH_AT": "\(random.pick(places)):\(random.int(2...30))"])
      }
      let enough = random.int(1...30)
      let before = try await log.head().rawValue
      _ = try await eventually { !workers[0].isRunning || workers[0].lastAcknowledged > Int(before) + enough }
      for (index, worker) in workers.enumerated() {
        if index > 0 { _ = try await eventually(timeout: .seconds(2)) { !worker.isRunning } }
        worker.kill9()
        try await worker.wait()
        #expect(try await log.head().rawValue >= Int64(worker.lastAcknowledged), random.replay)
      }
      try await compare(log, tables: ["inside"], random.replay)
    }
    for worker in try (0..<processes).map({ try start($0) }) { try await worker.finish() }
    try await compare(log, tables: ["inside", "behind"], random.replay)
    #expect(try await log.verify().problems.isEmpty)
    #expect(try await log.count("warren_snapshots") > 0)
    // Each request once, though it was tried in every round.
    let requests = try await log.count("warren_requests")
    #expect(requests <= processes * count)
  }

  private func compare(_ log: EventLog, tables: [String], _ comment: Comment) async throws {
    var model: [StreamName: Counter] = [:]
    for event in try await log.all() {
      model[event.stream, default: Counter()].evolve(try event.decoded(as: Counter.Event.self))
      #expect(Int64(model[event.stream]?.events ?? 0) == event.version, comment)
    }
    for (stream, counter) in model {
      #expect(counter.sum >= 0, comment)
      for uses in [true, false] {
        let folded = try await log.reading {
          try StreamFold.fold(Counter.self, stream, at: .latest, useSnapshots: uses, $0)
        }
        #expect(folded.state == counter, comment)
      }
    }
    for table in tables {
      let found = try await log.database.read { db -> [StreamName: Counter]? in
        // Nobody may have come so far as to make it.
        guard try db.tableExists(table) else { return nil }
        var found: [StreamName: Counter] = [:]
        for row in try Row.fetchAll(db, sql: "SELECT stream, sum, events FROM \"\(table)\"") {
          found[StreamName(trusted: row["stream"])] = Counter(sum: row["sum"], events: row["events"])
        }
        return found
      }
      if let found { #expect(found == model, comment) }
    }
  }
}
