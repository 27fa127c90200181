import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct RelayTests {
  private func isDrained(_ log: EventLog) async throws -> Bool {
    try await log.database.read { db in
      let checkpoint = try Int64.fetchOne(db, sql: "SELECT position FROM warren_readers WHERE name = 'relay'") ?? -1
      let head = try Int64.fetchOne(db, sql: "SELECT position FROM warren_head") ?? -2
      let left = try Int.fetchOne(db, sql: "SELECT count(*) FROM warren_outbox") ?? -1
      return checkpoint == head && left == 0
    }
  }

  @Test func whatIsRecordedIsDeliveredInOrderAndRemoved() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker()
    for number in 0..<50 { try await log.record(Happened(number: number), options: .init(key: "k")) }
    try await log.database.writeWithoutTransaction { db in
      try db.inTransaction {
        try log.record(Happened(number: 1000), in: db)
        return .rollback
      }
    }
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.confirmedCount == 50 }
      for number in 50..<100 { try await log.record(Happened(number: number), options: .init(key: "k")) }
      try await expectEventually { try await isDrained(log) }
    }
    #expect(broker.came.map(\.number) == Array(0..<100))
    #expect(broker.came.allSatisfy { $0.metadata.source == "tests" && $0.metadata.recordedAt != nil })
  }

  @Test func bothTablesAreMergedByPositionAndPrivateEventsStay() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for number in 0..<60 {
      if number % 3 == 0 {
        try await log.record(Happened(number: number), options: .init(key: "k"))
      } else {
        // As the event store will append.
        try await log.database.write { db in
          let row = try EventRow(EncodedEvent(number, key: "k"), maximumBodySize: 1000)
          let position = try Int64.fetchOne(
            db, sql: "UPDATE warren_head SET position = position + 1 RETURNING position")
          let places = Array(repeating: "?", count: 22).joined(separator: ", ")
          let insert = try RawStatement("INSERT INTO warren_events VALUES (\(places))", db)
          row.bind(to: insert, position: position, recordedAt: 0)
          insert.bind(21, "stream")
          insert.bind(22, Int64(number))
          _ = try insert.step()
          if number % 3 == 2 {
            try db.execute(sql: "UPDATE warren_events SET exchange = NULL WHERE position = ?", arguments: [position])
          }
        }
      }
    }
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { _ in try await expectEventually { try await isDrained(log) } }
    #expect(broker.came.map(\.number) == (0..<60).filter { $0 % 3 != 2 })
    #expect(try await log.count("warren_events") == 40)
  }

  @Test func eachTroubleHoldsBackOnlyItsOwnLaneAndIsFollowedInOrder() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let types: [EventType] = ["a.fine", "b.unroutable", "c.congested", "d.refused", "e.missing"]
    let answer: FakeBroker.Answer = { event in
      switch event.metadata.type {
      case "b.unroutable": .unroutable("nobody is bound")
      case "c.congested": .congested("the queue is full")
      case "d.refused": event.number == 30 ? .refused("too large") : .confirmed
      case "e.missing": .refused("no exchange 'events.e.missing' in vhost '/'")
      default: .confirmed
      }
    }
    let broker = FakeBroker(answer)
    var number = 0
    func recordAll() async throws {
      for key in ["x", "y", nil] {
        for type in types {
          _ = try await log.record(encoded: [EncodedEvent(number, type: type, key: key)])
          number += 1
        }
      }
    }
    for _ in 0..<10 { try await recordAll() }
    var reasons: [String: Int] = [:]
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.confirmed.count { $0.metadata.type == "a.fine" } == 30 }
      let isPassed = try await eventually {
        try await log.database.read { db in
          try Bool.fetchOne(
            db, sql: "SELECT (SELECT position FROM warren_readers) = (SELECT position FROM warren_head)") == true
        }
      }
      #expect(isPassed)
      reasons = try await log.database.read { db in
        var reasons: [String: Int] = [:]
        for row in try Row.fetchAll(db, sql: "SELECT cause, count(*) AS n FROM warren_held GROUP BY cause") {
          reasons[row["cause"]] = row["n"]
        }
        return reasons
      }
      broker.answer { _ in .confirmed }
      try await recordAll()
      // Refused ones wait for an operator.
      try await log.database.write { db in
        let refused = try Int64.fetchAll(db, sql: "SELECT position FROM warren_held WHERE reason = 'refused'")
        try HeldEntries.retry(refused, db)
      }
      try await expectEventually { try await isDrained(log) }
    }
    #expect(reasons["unroutable"] == 30)
    #expect(reasons["congested"] == 30)
    #expect(reasons["exchange"] == 30)
    for type in types {
      for key in ["x", "y"] {
        let numbers = broker.confirmed.filter { $0.metadata.type == type && $0.metadata.key == key }.map(\.number)
        #expect(numbers == numbers.sorted() && numbers.count == 11, "\(type) \(key): \(numbers)")
      }
    }
    #expect(Set(broker.confirmed.map(\.number)) == Set(0..<number))
  }

  @Test func aBrokerThatIsAwayCostsNothingButTime() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker { _ in .notPublished("the broker is away") }
    for number in 0..<20 { try await log.record(Happened(number: number), options: .init(key: "k\(number % 4)")) }
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.came.count >= 10 }
      #expect(try await log.count("warren_held") == 0)
      #expect(try await log.count("warren_outbox") == 20)
      broker.answer { $0.number % 2 == 0 ? .unknown("no answer") : .confirmed }
      try await expectEventually { broker.came.count >= 14 }
      broker.answer { _ in .confirmed }
      try await expectEventually { try await isDrained(log) }
    }
    for key in 0..<4 {
      var seen: Set<Int> = []
      let first = broker.confirmed.map(\.number).filter { $0 % 4 == key && seen.insert($0).inserted }
      #expect(first == Array(stride(from: key, to: 20, by: 4)))
    }
  }

  @Test func ofTwoRelaysOneWorksAndTheOtherTakesOver() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let other = try folder.log()
    let (first, second) = (FakeBroker(), FakeBroker())
    let firstRelay = log.relay(to: first)
    let running = Task { try await firstRelay.run() }
    try await expectEventually { firstRelay.isActive }
    try await withRelay(other, to: second) { relay in
      for number in 0..<10 { try await other.record(Happened(number: number)) }
      try await expectEventually { first.confirmedCount == 10 }
      #expect(!relay.isActive)
      #expect(second.came.isEmpty)
      running.cancel()
      try await running.value
      try await other.record(Happened(number: 10))
      try await expectEventually { second.confirmedCount == 1 }
    }
    #expect(second.came.map(\.number) == [10])
  }

  @Test func commitsOfStrangersAreSeen() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let stranger = try folder.stranger()
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { relay in
      try await expectEventually { relay.isActive }
      for number in 0..<20 {
        try await stranger.write { _ = try log.record(Happened(number: number), in: $0) }
        try await expectEventually { broker.confirmedCount == number + 1 }
      }
    }
  }

  @Test func scheduledEventsGetTheirPositionWhenTheyAreDueAndCanBeCancelled() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker()
    let due = Date().addingTimeInterval(0.3)
    let (kept, cancelled, far) = try await log.database.write { db in
      (
        try log.schedule(Happened(number: 1), notBefore: due, in: db),
        try log.schedule(Happened(number: 2), notBefore: due, in: db),
        try log.schedule(Happened(number: 3), notBefore: Date().addingTimeInterval(3600), in: db)
      )
    }
    try await log.record(Happened(number: 0))
    #expect(try await log.database.write { try log.cancelScheduled(cancelled, in: $0) })
    #expect(try await log.database.write { try log.cancelScheduled(cancelled, in: $0) } == false)
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.confirmedCount == 2 }
      #expect(Date() >= due)
    }
    #expect(broker.came.map(\.number) == [0, 1])
    #expect(broker.came.map(\.metadata.id).last == kept)
    #expect(try await log.database.write { try log.cancelScheduled(kept, in: $0) } == false)
    #expect(try await log.database.write { try log.cancelScheduled(far, in: $0) })
  }

  @Test func whatNobodyTakesIsKeptUpToABoundAndCountedThen() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker { _ in .unroutable("nobody") }
    for number in 0..<10 { try await log.record(Happened(number: number), options: .init(key: "k")) }
    // The first look at the bounds comes before anything is held.
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { try await log.count("warren_held") == 10 }
    }
    var options = Relay.Options()
    options.mostUnroutable = 4
    try await withRelay(log, to: broker, options: options) { _ in
      try await expectEventually { try await log.count("warren_held") == 4 }
      broker.answer { _ in .confirmed }
      try await expectEventually { broker.confirmedCount == 4 }
    }
    #expect(broker.confirmed.map(\.number) == [6, 7, 8, 9])
    let dropped = try await log.database.read { db -> [Int] in
      guard let row = try Row.fetchOne(db, sql: "SELECT * FROM warren_dropped") else { return [] }
      return [row["count"], row["first_position"], row["last_position"]]
    }
    #expect(dropped == [6, 1, 6])
  }

  @Test func acceptAndRefuseAreChoicesForEachType() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker { _ in .unroutable("nobody") }
    var options = Relay.Options()
    options.unroutableTypes = ["a.accepted": .accept, "b.refused": .refuse]
    _ = try await log.record(encoded: [
      EncodedEvent(0, type: "a.accepted"), EncodedEvent(1, type: "b.refused"), EncodedEvent(2, type: "c.held"),
    ])
    try await withRelay(log, to: broker, options: options) { _ in
      try await expectEventually { try await log.count("warren_held") == 2 }
    }
    let outcomes = try await log.waitUntilPublished(
      [1, 2, 3].map { LogPosition(rawValue: $0) }, timeout: .seconds(5))
    #expect(outcomes == [.confirmed, .refused("nobody"), .unroutable("nobody")])
  }

  @Test func aCheckpointThatSomebodyElseMovedIsNoticed() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker()
    for number in 0..<5 { try await log.record(Happened(number: number), options: .init(key: "k")) }
    try await withRelay(log, to: broker) { relay in
      try await expectEventually { try await isDrained(log) }
      try await log.database.write { try $0.execute(sql: "UPDATE warren_readers SET position = 2") }
      try await log.record(Happened(number: 5), options: .init(key: "k"))
      try await expectEventually { try await isDrained(log) }
    }
    #expect(Set(broker.confirmed.map(\.number)) == Set(0...5))
  }

  /// Only the relay retains the rows of the outbox: a reader that is gone for good costs no disk.
  @Test func aReaderThatIsGoneDoesNotStopThePruning() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.database.write {
      try $0.execute(sql: "INSERT INTO warren_readers (name, position, rows, bytes, moved) VALUES ('gone', 0, 0, 0, 0)")
    }
    let broker = FakeBroker()
    var pages: [Int] = []
    try await withRelay(log, to: broker) { _ in
      for round in 1...4 {
        for start in stride(from: 0, to: 2000, by: 500) {
          _ = try await log.record(encoded: (start..<start + 500).map { EncodedEvent($0, key: "k\($0 % 50)") })
        }
        try await expectEventually { try await isDrained(log) }
        #expect(broker.confirmedCount == 2000 * round)
        pages.append(try await log.database.read { try Int.fetchOne($0, sql: "PRAGMA page_count") ?? 0 })
      }
    }
    // The pages of what is delivered are used again.
    #expect(pages[3] <= pages[0] * 2, "\(pages)")
    let left = try await log.database.read {
      try Int64.fetchOne($0, sql: "SELECT position FROM warren_readers WHERE name = 'gone'")
    }
    #expect(left == 0)
  }

  @Test func aRelayThatBeginsAnewWithPublishesUnderWayStopsAsItShould() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker(delay: .milliseconds(100))
    for number in 0..<40 { try await log.record(Happened(number: number), options: .init(key: "k\(number % 20)")) }
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.mostUnderWay > 0 }
      for _ in 0..<3 {
        try await log.database.write { try $0.execute(sql: "UPDATE warren_readers SET position = 0") }
        try await log.record(Happened(number: 100))
        try await Task.sleep(for: .milliseconds(150))
      }
      try await expectEventually { try await isDrained(log) }
    }
    #expect(Set(broker.confirmed.map(\.number)) == Set(0..<40).union([100]))
  }

  @Test func aFullDiskHoldsUpTheCheckpointAndNotTheRelaysLife() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broker = FakeBroker { _ in .unroutable("nobody") }
    for number in 0..<200 { try await log.record(Happened(number: number), options: .init(key: "k\(number)")) }
    try await log.database.writeWithoutTransaction { db in
      let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
      try db.execute(sql: "PRAGMA max_page_count = \(pages)")
    }
    try await withRelay(log, to: broker) { relay in
      try await expectEventually { broker.came.count >= 200 }
      try await expectEventually { log.committer.groupCount > 202 }
      #expect(relay.isActive)
      #expect(try await log.count("warren_held") == 0)
      #expect(try await log.count("warren_outbox") == 200)
      broker.answer { _ in .confirmed }
      try await log.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = 1000000") }
      try await expectEventually { try await isDrained(log) }
    }
    #expect(Set(broker.confirmed.map(\.number)) == Set(0..<200))
  }

  @Test func aRowThatCannotBeReadHoldsBackOnlyItself() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for number in 0..<5 { try await log.record(Happened(number: number)) }
    try await log.database.write {
      try $0.execute(sql: "UPDATE warren_outbox SET headers = 'no json' WHERE position = 3")
    }
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.confirmedCount == 4 }
      try await expectEventually { try await log.count("warren_held") == 1 }
    }
    #expect(broker.confirmed.map(\.number) == [0, 1, 3, 4])
  }

  /// Relays that are stopped at random moments, a broker of random moods: nothing is missing, no first sight is out of order.
  @Test func restartsInTheMiddleLoseNothingAndKeepTheOrder() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let random = Lock(SeededGenerator())
    let replay = random.withLock { $0.replay }
    let broker = FakeBroker(delay: .milliseconds(1)) { _ in
      random.withLock { random in
        random.oneIn(6)
          ? random.pick([.notPublished("away"), .unknown("?"), .congested("full"), .unroutable("nobody")]) : .confirmed
      }
    }
    var number = 0
    for _ in 0..<12 {
      for _ in 0..<30 {
        let key = random.withLock { $0.oneIn(3) ? nil : "k\($0.int(0...4))" }
        _ = try await log.record(encoded: [EncodedEvent(number, key: key)])
        number += 1
      }
      try await withRelay(log, to: broker) { _ in
        try await Task.sleep(for: .milliseconds(random.withLock { $0.int(0...60) }))
      }
    }
    broker.answer { _ in .confirmed }
    try await log.database.write { db in
      try HeldEntries.retry(try Int64.fetchAll(db, sql: "SELECT position FROM warren_held"), db)
    }
    try await withRelay(log, to: broker) { _ in try await expectEventually(replay) { try await isDrained(log) } }
    #expect(Set(broker.confirmed.map(\.number)) == Set(0..<number), replay)
    for key in 0..<5 {
      var seen: Set<Int> = []
      let first = broker.confirmed.filter { $0.metadata.key == "k\(key)" && seen.insert($0.number).inserted }.map(
        \.number)
      #expect(first == first.sorted(), replay)
    }
  }
}
