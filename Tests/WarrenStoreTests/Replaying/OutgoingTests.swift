import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct OutgoingTests {
  @Test func aMapperTellsInTheSameTransaction() async throws {
    let folder = try Folder()
    let log = try folder.log()
    struct Stop: Error {}
    try await log.add(mapper: "accounts", of: AccountEvent.self) { event, recorded in
      switch event {
      case .opened(let owner): [Happened(number: owner.count), Announced(number: Int(recorded.version))]
      case .deposited(let cents) where cents == 13: throw Stop()
      case .deposited, .withdrawn: []
      }
    }
    try await log.append(
      [AccountEvent.opened(owner: "Bo"), .deposited(cents: 1)], to: "account-1", options: .init(correlationID: "c"))
    let refused = await thrown(Stop.self) {
      try await log.append([AccountEvent.opened(owner: "Alice"), .deposited(cents: 13)], to: "account-2")
    }
    #expect(refused != nil)
    #expect(try await log.version(of: "account-2") == 0)
    let opened = try #require(try await log.all().first)
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { _ in try await expectEventually { broker.confirmedCount == 2 } }
    #expect(broker.came.map(\.metadata.type) == ["thing.happened", "thing.announced"])
    #expect(broker.came.map(\.number) == [2, 1])
    #expect(broker.came.allSatisfy { $0.metadata.causationID == opened.metadata.id?.text })
    #expect(broker.came.allSatisfy { $0.metadata.correlationID == "c" && $0.metadata.key == "account-1" })
    // Another process without it is refused, as with projections.
    let other = try folder.log()
    let error = await thrown(StoreError.self) { try await other.append([Happened(number: 1)], to: "a") }
    #expect(error?.code == .projectionMissing)
    try await log.remove(mapper: "accounts")
    try await other.append([AccountEvent.opened(owner: "Al")], to: "account-3")
    #expect(try await log.count("warren_outbox") == 0)
  }

  @Test func historyIsReplayedWithItsIdsAndAMark() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append((1...1200).map { Announced(number: $0) }, to: "a")
    try await log.append((1...10).map { Happened(number: $0) }, to: "b")
    let broker = FakeBroker()
    let done = try await log.replay(.init(), as: "r1", to: broker)
    #expect(done.events == 1200 && done.last?.rawValue == 1200)
    #expect(broker.came.map(\.number) == Array(1...1200))
    #expect(broker.came.allSatisfy { $0.metadata.replay == "r1" && $0.hasOwnID })
    let ids = try await log.all(.init(stream: "a")).map(\.metadata.id)
    #expect(broker.came.map(\.metadata.id) == ids)
    let all = FakeBroker()
    #expect(
      try await log.replay(.init(from: .position(LogPosition(rawValue: 1196))), to: all, includesPrivate: true).events
        == 15)
    // Nothing of the log has moved.
    #expect(try await log.status().checkpoint.rawValue == 0)
  }

  @Test func aReplayWaitsForABrokerThatIsAwayAndSaysWhereItStopped() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append((1...20).map { Announced(number: $0) }, to: "a")
    let broker = FakeBroker { _ in .notPublished("away") }
    let tries = Lock(0)
    broker.answer { event in
      if event.number != 7 { return .confirmed }
      return tries.withLock { tries in
        tries += 1
        return tries > 2 ? .confirmed : .notPublished("away")
      }
    }
    #expect(try await log.replay(.init(), to: broker).events == 20)
    broker.answer { $0.number == 7 ? .unroutable("no queue") : .confirmed }
    let error = await thrown(ReplayError.self) { try await log.replay(.init(), as: "r", to: broker) }
    #expect(error?.progress.events == 6 && error?.position.rawValue == 7)
    broker.answer { _ in .congested("full") }
    let away = await thrown(ReplayError.self) {
      try await log.replay(.init(), to: broker, patience: .milliseconds(50))
    }
    #expect(away?.progress.events == 0)
    let backwards = await thrown(StoreError.self) { try await log.replay(.init(direction: .backwards), to: broker) }
    #expect(backwards?.code == .invalidConfiguration)
  }

  @Test func anInboxRemembersEachReplayByItself() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let effects = Lock(0)
    let handler = log.inbox.on(Happened.self) { _, _, _ in effects.withLock { $0 += 1 } }
    let id = EventID()
    func delivery(_ replay: String?) -> Delivery {
      var metadata = EventMetadata(
        id: id, type: "thing.happened", source: "x", time: replay == nil ? Date() : Date(timeIntervalSince1970: 1000))
      if let replay { metadata.headers["warren-replay"] = .string(replay) }
      return Delivery(type: "thing.happened", body: Data(#"{"number":1}"#.utf8), queue: "s.q", hasOwnID: { true }) {
        [metadata] in metadata
      }
    }
    for (replay, expected) in [(nil, 1), (nil, 1), ("r1", 2), ("r1", 2), ("r2", 3), (nil, 3)] {
      guard case .handled = await handler.handle(delivery(replay)).outcome else {
        Issue.record("was not handled")
        return
      }
      #expect(effects.withLock { $0 } == expected)
    }
    // An event of 1970 in a replay is remembered from now on.
    let now = Int64(wallClockMilliseconds())
    let left = try await log.transact { db in
      try InboxRecords.pruneReplays(queue: "s.q", before: now - 60_000, limit: 10, db)
    }
    #expect(left == 0)
    let gone = try await log.transact { db in
      (
        try InboxRecords.pruneReplays(queue: "s", before: now + 60_000, limit: 10, db),
        try InboxRecords.pruneReplays(queue: "s.q", before: now + 60_000, limit: 10, db)
      )
    }
    #expect(gone == (0, 2))
    #expect(try await log.count("warren_inbox") == 1)
  }

  @Test func anInboxHandlerAppendsInItsTransaction() async throws {
    let folder = try Folder()
    let log = try folder.log()
    struct Refused: Error {}
    let handler = log.inbox.on(Happened.self) { event, db, _ in
      try log.append([AccountEvent.deposited(cents: event.number)], to: "account-1", in: db)
      if event.number == 13 { throw Refused() }
    }
    let ids = [EventID(), EventID(), EventID()]
    for (id, number) in [(ids[0], 5), (ids[0], 5), (ids[1], 13), (ids[2], 7)] {
      let delivery = Delivery(
        type: "thing.happened", body: Data(#"{"number":\#(number)}"#.utf8), queue: "s.q", hasOwnID: { true }
      ) {
        EventMetadata(id: id, type: "thing.happened", source: "x", time: Date(), correlationID: "c")
      }
      _ = await handler.handle(delivery)
    }
    let events = try await log.all(.init(stream: "account-1"))
    #expect(try events.map { try $0.decoded(as: AccountEvent.self) } == [.deposited(cents: 5), .deposited(cents: 7)])
    // What caused them is known.
    #expect(events.map(\.metadata.causationID) == [ids[0].text, ids[2].text])
    #expect(events.allSatisfy { $0.metadata.correlationID == "c" })
  }

  @Test func oldEventsAreReadAsTheirNewTypes() async throws {
    struct Person: Event, Equatable {
      static let eventType: EventType = "person.joined"
      static let schemaVersion = 2
      static var upcasters: Upcasters {
        [
          .renamed("person.added", to: "person.joined"),
          .body(of: "person.joined", from: 1) { $0.rename("n", to: "name") },
        ]
      }
      var name: String
    }
    struct People: Projection {
      let name = "people", version = 1
      let eventTypes = Person.readTypes
      func create(_ context: ProjectionContext) throws {
        try context.db.execute(sql: "CREATE TABLE \(context.table("people")) (name TEXT)")
      }
      func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
        let person = try event.decoded(as: Person.self)
        try context.db.execute(sql: "INSERT INTO \(context.table("people")) VALUES (?)", arguments: [person.name])
      }
    }
    struct Club: Decider {
      enum Command: Sendable { case join(String) }
      typealias Event = Person
      enum Refusal: Error { case never }
      static let category = "club"
      var names: [String] = []
      func decide(_ command: Command) throws(Refusal) -> [Person] {
        switch command {
        case .join(let name): [Person(name: name)]
        }
      }
      mutating func evolve(_ event: Person) { names.append(event.name) }
    }
    let folder = try Folder()
    let log = try folder.log()
    func old(_ type: EventType, _ body: String) -> EncodedEvent {
      EncodedEvent(metadata: EventMetadata(type: type), body: Data(body.utf8))
    }
    try await log.append([
      StreamAppend(encoded: [old("person.added", #"{"n":"Al"}"#), old("person.joined", #"{"n":"Bo"}"#)], to: "club-1")
    ])
    try await log.run(Club.self, "1", .join("Cy"))
    #expect(try await log.state(Club.self, "1").state.names == ["Al", "Bo", "Cy"])
    #expect(
      try await log.all(.init(types: Person.readTypes)).map { try $0.decoded(as: Person.self).name } == [
        "Al", "Bo", "Cy",
      ])
    try await log.add(inline: People())
    #expect(
      try await log.database.read { try String.fetchAll($0, sql: "SELECT name FROM people") } == ["Al", "Bo", "Cy"])
    // What is stored stays as it was written.
    #expect(try await log.all().map(\.type.name) == ["person.added", "person.joined", "person.joined"])
    #expect(try await log.all().last?.metadata.headers["warren-schema"] == 2)
  }
}
