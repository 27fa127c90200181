import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// New versions of a projection are built beside the ones in use by processes that are killed, at random moments and within
/// the swap, while another process appends and readers look at the tables all the time. A subscription of theirs goes from
/// one to the next.
///
/// The long form: WARREN_REBUILD_KILLS=500 swift test --filter KilledRebuildTests
struct KilledRebuildTests {
  private static let kills = ProcessInfo.processInfo.environment["WARREN_REBUILD_KILLS"].flatMap { Int($0) } ?? 6

  /// The event of `Totals` in `Tests/StoreWorker`.
  private struct Step: Event {
    static let eventType: EventType = "rebuild.step"
    var amount: Int
  }
  private struct Told: Decodable, Hashable {
    var stream: String
    var version: Int64
    var by: Int?
    var isRebuilding: Bool?
  }

  /// How a process that builds ends.
  private enum Death: Hashable {
    /// When it has come so far, in parts of what there is to do.
    case moment(Double)
    case place(String, Int)

    static func building(_ random: inout SeededGenerator) -> Death {
      random.oneIn(2)
        ? .moment(Double(random.int(0...100)) / 100)
        : .place(random.pick(["beforeCommit", "afterCommit"]), random.int(1...6))
    }
  }

  @Test func whateverIsKilledEachVersionIsWholeAndNothingIsToldTwice() async throws {
    var random = SeededGenerator()
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.write { try $0.execute(sql: "CREATE TABLE steps (position INTEGER)") }
    let first = try await append(3000, to: log, &random)
    var old = try await live(1, folder, log)
    let (isDone, readers, replay) = (Lock(false), Lock(0), random.replay)
    // One through the log's own connections, one as a program that knows nothing of it.
    let watchers = [log.database, try folder.stranger()].map { (database: any DatabaseReader) in
      Task {
        var last = Seen()
        do {
          while !isDone.withLock({ $0 }) {
            last = try await look(database, after: last, replay)
            readers.withLock { $0 += 1 }
            // So that there is a processor left for those who build.
            try await Task.sleep(for: .milliseconds(1))
          }
        } catch {
          Issue.record("a reader saw what must not be: \(error); \(replay)")
        }
      }
    }
    let writer = Task {
      var random = SeededGenerator("writer")
      while !isDone.withLock({ $0 }) {
        _ = try await append(random.int(1...3), to: log, &random)
        // So that the log does not grow faster than it is read.
        try await Task.sleep(for: .milliseconds(random.int(0...2)))
      }
    }
    defer { isDone.withLock { $0 = true } }
    var (version, killed, swaps) = (1, 0, 0)
    // A version may come into use before anybody dies in its swap.
    while killed < Self.kills || swaps == 0 {
      version += 1
      var deaths = (0..<random.int(1...3)).map { _ in Death.building(&random) }
      deaths += (0..<random.int(1...2)).map { _ in .place("inSwap", random.int(1...3)) }
      deaths.append(random.oneIn(2) ? .place("afterSwap", 1) : .place("inSwap", random.int(1...3)))
      for death in deaths {
        // The one that keeps the version in use up to date dies too.
        if random.oneIn(4) {
          old.kill9()
          try await old.wait()
          killed += 1
          old = try Worker([folder.file, "totals", "\(version - 1)", "0"])
        }
        let isOver = try await die(death, version, folder, log)
        killed += 1
        if case .place("inSwap", _) = death { swaps += 1 }
        if isOver { break }
      }
      let new = try await live(version, folder, log)
      old.kill9()
      try await old.wait()
      old = new
    }
    try await require("the readers look often enough") { readers.withLock { $0 } > 100 }
    isDone.withLock { $0 = true }
    try await writer.value
    for watcher in watchers { await watcher.value }
    let last = try await append(1, to: log, &random)
    try await reached(last, version, log)
    try await require("the subscription reaches \(last)") {
      try await log.readers().contains { $0.name == "subscription steps" && $0.position >= last }
    }
    old.kill9()
    try await old.wait()
    print(
      "rebuilds: \(version - 1) versions, \(killed) kills, \(swaps) of them in a swap, \(readers.withLock { $0 }) looks"
    )
    try await compare(log, version, since: first, replay)
  }

  // MARK: Processes

  /// Starts a process and waits until its version is in use.
  private func live(_ version: Int, _ folder: Folder, _ log: EventLog) async throws -> Worker {
    let worker = try Worker([folder.file, "totals", "\(version)", "0"])
    try await require("version \(version) comes into use") {
      try await log.projections().contains { $0.version == version && $0.isLive }
    }
    return worker
  }

  private func reached(_ position: LogPosition, _ version: Int, _ log: EventLog) async throws {
    try await require("version \(version) reaches \(position)") {
      try await log.projections().contains { $0.version == version && $0.isLive && $0.position >= position }
    }
  }

  /// True when the version has come into use before its builder died.
  private func die(_ death: Death, _ version: Int, _ folder: Folder, _ log: EventLog) async throws -> Bool {
    var environment: [String: String] = [:]
    if case .place(let place, let count) = death { environment["WARREN_CRASH_AT"] = "\(place):\(count)" }
    let worker = try Worker([folder.file, "totals", "\(version)", "0"], environment)
    // A place is reached only while there is something to do: in use, it may wait for ever.
    try await require("\(death) comes") {
      guard worker.isRunning else { return true }
      guard let status = try await log.projections().first(where: { $0.version == version }) else { return false }
      if status.isLive { return true }
      guard case .moment(let part) = death else { return false }
      return Double(status.position.rawValue) >= part * Double(status.head.rawValue)
    }
    worker.kill9()
    try await worker.wait()
    return try await log.projections().contains { $0.version == version && $0.isLive }
  }

  /// Nothing that comes later makes sense without it.
  private func require(_ what: Comment, _ condition: () async throws -> Bool) async throws {
    try #require(try await eventually(timeout: .seconds(30), condition), what)
  }

  private func append(_ count: Int, to log: EventLog, _ random: inout SeededGenerator) async throws -> LogPosition {
    var last = LogPosition(rawValue: 0)
    for start in stride(from: 0, to: count, by: 30) {
      var steps: [Int: [Step]] = [:]
      for _ in start..<min(start + 30, count) {
        steps[random.int(0...9), default: []].append(Step(amount: random.int(1...99)))
      }
      let appends = try steps.sorted { $0.key < $1.key }.map { StreamAppend($1, to: try StreamName("steps-\($0)")) }
      last = try await log.append(appends).position
    }
    return last
  }

  // MARK: What must be

  private struct Seen: Sendable {
    var factor = 0
    var events = 0

    init() {}
    init(_ row: Row) { (factor, events) = (row["factor"], row["events"]) }
  }

  /// One snapshot: the tables are there, of one version, and have exactly the events up to that version's checkpoint; the
  /// subscription's table has those up to its own.
  private func look(_ database: any DatabaseReader, after last: Seen, _ comment: Comment) async throws -> Seen {
    let (rows, total, seen, steps) = try await database.read { db in
      let rows = try Row.fetchAll(db, sql: "SELECT factor, sum(events) AS events FROM totals GROUP BY factor")
      let total = try Row.fetchOne(db, sql: "SELECT factor, events FROM totals_seen")
      let seen = try Row.fetchAll(
        db,
        sql: """
          SELECT p.version AS factor, (SELECT count(*) FROM warren_events WHERE type = 'rebuild.step' AND position <= r.position) AS events
          FROM warren_projections p JOIN warren_readers r ON r.name = 'projection totals/' || p.version WHERE p.state = 'live'
          """)
      let steps = try Bool.fetchOne(
        db,
        sql: """
          SELECT (SELECT count(*) FROM steps) = (SELECT count(*) FROM warren_events WHERE type = 'rebuild.step' AND position <=
            coalesce((SELECT position FROM warren_readers WHERE name = 'subscription steps'), 0))
          """)
      return (rows.map { Seen($0) }, total.map { Seen($0) }, seen.map { Seen($0) }, steps)
    }
    let now = rows.first ?? Seen()
    #expect(rows.count == 1 && seen.count == 1, comment)
    #expect(now.factor == total?.factor && now.factor == seen.first?.factor, comment)
    #expect(now.events == total?.events && now.events == seen.first?.events, comment)
    #expect(steps == true, comment)
    #expect(now.factor >= last.factor && now.events >= last.events, comment)
    return now
  }

  /// A plain fold over all events in order.
  private func compare(_ log: EventLog, _ version: Int, since first: LogPosition, _ comment: Comment) async throws {
    var model: [String: [Int]] = [:]
    var toTell: [Told] = []
    for event in try await log.all() {
      let amount = try event.decoded(as: Step.self).amount * version
      if let row = model[event.stream.name] {
        model[event.stream.name] = [row[0] + 1, (row[1] * 31 + amount) % 1_000_003, version]
      } else {
        model[event.stream.name] = [1, amount, version]
      }
      // What was there before the first version was nobody's to tell.
      if event.position > first { toTell.append(Told(stream: event.stream.name, version: event.version)) }
    }
    let (found, tables, readers, told) = try await log.database.read { db in
      let rows = try Row.fetchAll(db, sql: "SELECT * FROM totals").map { row -> (String, [Int]) in
        (row["stream"], [row["events"], row["trail"], row["factor"]])
      }
      return (
        Dictionary(uniqueKeysWithValues: rows),
        try String.fetchAll(
          db, sql: "SELECT name FROM sqlite_master WHERE name LIKE 'totals%' AND type = 'table' ORDER BY name"),
        try String.fetchAll(db, sql: "SELECT name FROM warren_readers WHERE name LIKE 'projection%'"),
        try Data.fetchAll(db, sql: "SELECT body FROM warren_outbox ORDER BY position").map {
          try JSONDecoder().decode(Told.self, from: $0)
        }
      )
    }
    #expect(found == model, comment)
    #expect(tables == ["totals", "totals_seen"], comment)
    #expect(readers == ["projection totals/\(version)"], comment)
    #expect(told.map { Told(stream: $0.stream, version: $0.version) } == toTell, comment)
    #expect(told.allSatisfy { $0.isRebuilding == false }, comment)
    #expect(Set(told.compactMap(\.by)).count > 1, comment)
    // By one owner at a time, whichever it was: each step once, in order.
    let steps = try await log.database.read { try Int64.fetchAll($0, sql: "SELECT position FROM steps ORDER BY rowid") }
    #expect(steps == (try await log.all()).map(\.position.rawValue), comment)
    #expect(try await log.projections().map(\.version) == [version], comment)
    #expect(try await log.verify().problems.isEmpty, comment)
  }
}
