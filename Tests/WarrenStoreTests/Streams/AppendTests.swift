import Foundation
import GRDB
import Testing
import Warren

@testable import WarrenStore

enum AccountEvent: EventFamily, Hashable {
  static let family: EventType = "account"
  static var eventTypes: [EventType] { ["account.opened", "account.deposited", "account.withdrawn"] }
  case opened(owner: String)
  case deposited(cents: Int)
  case withdrawn(cents: Int)
}

struct Announced: Event, Hashable {
  static let eventType: EventType = "thing.announced"
  static let publishes = true
  var number: Int
}

struct AppendTests {
  @Test func versionsAreDenseAndPositionsFollowTheOrder() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let first = try await log.append([AccountEvent.opened(owner: "Bo"), .deposited(cents: 5)], to: "account-1")
    #expect(first.version == 2)
    let other = try await log.append([AccountEvent.opened(owner: "Al")], to: "account-2")
    #expect(other.version == 1)
    let second = try await log.append([AccountEvent.withdrawn(cents: 1)], to: "account-1", expecting: .version(2))
    #expect(second.version == 3)
    #expect(first.position < other.position && other.position < second.position)
    #expect(try await log.version(of: "account-1") == 3)
    #expect(try await log.version(of: "account-3") == 0)
    let events = try await log.all(.init(stream: "account-1"))
    #expect(events.map(\.version) == [1, 2, 3])
    #expect(
      try events.map { try $0.decoded(as: AccountEvent.self) } == [
        .opened(owner: "Bo"), .deposited(cents: 5), .withdrawn(cents: 1),
      ])
  }

  @Test(arguments: [
    (ExpectedVersion.any, true, true), (.noStream, true, false), (.exists, false, true), (.version(0), true, false),
    (.version(2), false, true), (.version(1), false, false), (.version(3), false, false), (.version(-1), false, false),
  ])
  func whatIsExpectedIsCompared(_ expected: ExpectedVersion, _ withoutEvents: Bool, _ withTwo: Bool) async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append([Happened(number: 1), Happened(number: 2)], to: "two")
    for (stream, actual, isAllowed) in [("none", 0, withoutEvents), ("two", 2, withTwo)] {
      let stream = try StreamName(stream)
      let error = await thrown(ConflictError.self) {
        try await log.append([Happened(number: 3)], to: stream, expecting: expected)
      }
      #expect(error == (isAllowed ? nil : ConflictError(stream: stream, expected: expected, actual: Int64(actual))))
      #expect(try await log.version(of: stream) == Int64(isAllowed ? actual + 1 : actual))
    }
  }

  @Test func severalStreamsAreAllOrNothing() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append([Happened(number: 1)], to: "a")
    let error = await thrown(ConflictError.self) {
      try await log.append([
        StreamAppend([Happened(number: 2)], to: "a", expecting: .version(1)),
        StreamAppend([Announced(number: 3)], to: "b", expecting: .exists),
      ])
    }
    #expect(error?.stream == "b")
    #expect(try await log.version(of: "a") == 1)
    let appended = try await log.append([
      StreamAppend([Happened(number: 2), Announced(number: 4)], to: "a", expecting: .version(1)),
      StreamAppend([], to: "c", expecting: .noStream),
      StreamAppend([Announced(number: 3)], to: "b", expecting: .noStream),
    ])
    #expect(appended.versions.map(\.version) == [3, 0, 1])
    #expect(appended.version(of: "b") == 1)
    #expect(try await log.all().map(\.position.rawValue) == [1, 2, 3, 4])
    #expect(appended.first?.rawValue == 2 && appended.last?.rawValue == 4)
  }

  @Test func anEmptyAppendIsACondition() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let appended = try await log.append([Happened](), to: "a", expecting: .noStream)
    #expect(appended.first == nil && appended.version == 0)
    #expect(await thrown(ConflictError.self) { try await log.append([Happened](), to: "a", expecting: .exists) } != nil)
  }

  @Test func aRequestHappensOnceAndItsRepeatReturnsTheFirstResult() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let first = try await log.append([Happened(number: 1)], to: "a", expecting: .noStream, request: "r1")
    try await log.append([Happened(number: 2)], to: "a")
    // The stream has moved on: the repeat is answered all the same.
    var again = try await log.append([Happened(number: 1)], to: "a", expecting: .noStream, request: "r1")
    #expect(again.isRepeat && !first.isRepeat)
    again.isRepeat = false
    #expect(again == first)
    #expect(try await log.version(of: "a") == 2)
    let error = await thrown(StoreError.self) {
      try await log.append([Happened(number: 1)], to: "b", request: "r1")
    }
    #expect(error?.code == .requestReused)
    // A refused append is no result.
    #expect(
      await thrown(ConflictError.self) {
        try await log.append([Happened(number: 3)], to: "a", expecting: .noStream, request: "r2")
      } != nil)
    #expect(try await log.append([Happened(number: 3)], to: "a", request: "r2").isRepeat == false)
  }

  @Test func aRequestInOneGroupWithItsRepeatHappensOnce() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let held = try await HeldWriter(log.database)
    let results = try await withThrowingTaskGroup(of: Appended.self) { group in
      for _ in 0..<8 {
        group.addTask { try await log.append([Happened(number: 1), Happened(number: 2)], to: "a", request: "r") }
      }
      try await expectEventually { log.committer.waitingCount == 8 }
      held.letGo()
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(results.count { !$0.isRepeat } == 1)
    #expect(Set(results.map(\.version)) == [2])
    #expect(Set(results.map(\.last)) == [LogPosition(rawValue: 2)])
    #expect(try await log.version(of: "a") == 2)
  }

  @Test func oldRequestsAreForgotten() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for number in 1...4 { try await log.append([Happened(number: number)], to: "a", request: "old-\(number)") }
    try await log.database.write {
      try $0.execute(sql: "UPDATE warren_requests SET at = at - ?", arguments: [StreamWriter.requestMemory + 60_000])
    }
    try await log.append([Happened(number: 5)], to: "a", request: "new-1")
    #expect(try await log.count("warren_requests") == 3)
    try await log.append([Happened(number: 6)], to: "a", request: "new-2")
    #expect(try await log.count("warren_requests") == 2)
  }

  @Test func conflictsInAGroupConcernOnlyTheLosers() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let held = try await HeldWriter(log.database)
    let groups = log.committer.groupCount
    let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
      for caller in 0..<40 {
        group.addTask {
          let stream = try StreamName("s-\(caller % 10)")
          do {
            try await log.append([Happened(number: caller)], to: stream, expecting: .noStream)
            return true
          } catch is ConflictError {
            return false
          }
        }
      }
      try await expectEventually { log.committer.waitingCount == 40 }
      held.letGo()
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(outcomes.count { $0 } == 10)
    #expect(log.committer.groupCount == groups + 1)
    #expect(try await log.count("warren_events") == 10)
    // The losers burn no positions.
    #expect(try await log.all().map(\.position.rawValue) == Array(1...10))
  }

  @Test func inTheUsersTransactionItGoesWithIt() async throws {
    let folder = try Folder()
    let log = try folder.log()
    struct Stop: Error {}
    try? await log.database.write { db in
      try log.append([Happened(number: 1)], to: "a", in: db)
      throw Stop()
    }
    #expect(try await log.version(of: "a") == 0)
    try await log.transact { db in
      try db.execute(sql: "CREATE TABLE mine (n INTEGER)")
      try log.append([Happened(number: 1)], to: "a", expecting: .noStream, in: db)
      do {
        try log.append([Happened(number: 2)], to: "a", expecting: .noStream, in: db)
        Issue.record("was appended")
      } catch is ConflictError {}
      try log.append([Announced(number: 2)], to: "a", expecting: .version(1), in: db)
    }
    #expect(try await log.all().map(\.position.rawValue) == [1, 2])
    let stranger = try folder.stranger()
    try await stranger.write { _ = try log.append([Happened(number: 3)], to: "a", expecting: .version(2), in: $0) }
    #expect(try await log.version(of: "a") == 3)
    let elsewhere = try DatabaseQueue(path: folder.path + "/other.sqlite")
    let error = await thrown(StoreError.self) {
      try await elsewhere.write { _ = try log.append([Happened(number: 3)], to: "a", in: $0) }
    }
    #expect(error?.code == .wrongDatabase)
    let without = await thrown(StoreError.self) {
      try await log.database.writeWithoutTransaction { _ = try log.append([Happened(number: 3)], to: "a", in: $0) }
    }
    #expect(without?.code == .database)
  }

  @Test func aRefusedBoundLeavesTheHeadAsItWas() async throws {
    let folder = try Folder()
    let log = try folder.log { $0.maximumBacklogRows = 1 }
    try await log.database.write { db in
      try log.record(Happened(number: 1), in: db)
      do {
        try log.record(Happened(number: 2), in: db)
        Issue.record("was recorded")
      } catch let error as StoreError {
        #expect(error.code == .full)
      }
      // Private events do not wait for the broker.
      try log.append([Happened(number: 3)], to: "a", in: db)
    }
    let status = try await log.status()
    #expect(status.backlogRows == 1)
    #expect(status.head.rawValue == 2)
  }

  @Test func metadataIsKept() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let time = Date(milliseconds: 1_700_000_000_123)
    let before = Int64(wallClockMilliseconds())
    try await log.append(
      [Happened(number: 1)], to: "a",
      options: .init(
        correlationID: "correlation", causationID: "cause", actor: "bo@example", time: time, headers: ["tenant": "x"]))
    try await log.append([Announced(number: 2)], to: "b", options: .init(key: "own-key"))
    let events = try await log.all()
    #expect(events[0].metadata.correlationID == "correlation")
    #expect(events[0].metadata.causationID == "cause")
    #expect(events[0].actor == "bo@example")
    #expect(events[0].time == time)
    #expect(events[0].metadata.headers["tenant"] == "x")
    #expect(events[0].metadata.key == "a")
    #expect(events[0].metadata.source == "tests")
    #expect(!events[0].isPublic)
    #expect((before...Int64(wallClockMilliseconds())).contains(events[0].recordedAt.milliseconds))
    #expect(events[1].metadata.key == "own-key")
    #expect(events[1].isPublic)
    #expect(events[0].metadata.id != nil && events[0].metadata.id != events[1].metadata.id)
  }

  @Test(arguments: ["", "a\nb", String(repeating: "x", count: 256)])
  func namesThatCannotBeUsedAreErrors(_ name: String) async throws {
    #expect(throws: StoreError.self) { _ = try StreamName(name) }
    #expect(throws: StoreError.self) { _ = try StreamName(category: "a-b", id: "1") }
    let folder = try Folder()
    let log = try folder.log()
    let request = name.isEmpty || name.count == 256 ? name : ""
    let error = await thrown(StoreError.self) { try await log.append([Happened(number: 1)], to: "a", request: request) }
    #expect(error?.code == .invalidEvent)
    let twice = await thrown(StoreError.self) {
      try await log.append([
        StreamAppend([Happened(number: 1)], to: "a"), StreamAppend([Happened(number: 2)], to: "a"),
      ])
    }
    #expect(twice?.code == .invalidEvent)
  }
}

extension EventLog {
  /// All events of a query.
  func all(_ query: EventQuery = .init()) async throws -> [RecordedEvent] {
    var all: [RecordedEvent] = []
    for try await event in events(query) { all.append(event) }
    return all
  }
}
