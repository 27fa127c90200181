import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Programs of several ages write and publish at once, and one of today reads all of it: from its store and over the broker.
struct EvolutionTests {
  private struct Joined: Event {
    static let eventType: EventType = "evolution-tests.joined"
    static let publishes = true
    static let schemaVersion = 2
    static var upcasters: Upcasters {
      [
        .renamed("evolution-tests.added", to: "evolution-tests.joined"),
        .body(of: "evolution-tests.joined", from: 1) { $0.rename("n", to: "name") },
      ]
    }
    var name: String
  }
  /// A second version that is a type of its own, beside the first.
  private struct JoinedV2: Event {
    static let eventType: EventType = "evolution-tests.joined.v2"
    static let publishes = true
    var first: String
    var last: String
  }
  /// As the oldest program has it.
  private struct Added: Event {
    static let eventType: EventType = "evolution-tests.added"
    static let publishes = true
    var n: String
  }
  /// Before its field was renamed.
  private struct JoinedOnce: Event {
    static let eventType: EventType = "evolution-tests.joined"
    static let publishes = true
    var n: String
  }

  private struct People: Projection {
    let name = "people", version = 1
    let eventTypes = Joined.readTypes + JoinedV2.readTypes
    func create(_ context: ProjectionContext) throws {
      try context.db.execute(sql: "CREATE TABLE \(context.table("people")) (name TEXT)")
    }
    func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
      let name =
        if event.isOne(of: JoinedV2.self) { try event.decoded(as: JoinedV2.self).last } else {
          try event.decoded(as: Joined.self).name
        }
      try context.db.execute(sql: "INSERT INTO \(context.table("people")) VALUES (?)", arguments: [name])
    }
  }

  @Test func oldBodiesOldNamesAndTwoVersionsSideBySideAreReadByOneProgram() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let (club, store) = (try folder.log("club"), try folder.log("late"))
    try await store.database.write { try $0.execute(sql: "CREATE TABLE came (name TEXT)") }
    try await withTestBroker { rabbit, litter in
      let service = unique("evolved")
      let types = Joined.readTypes + JoinedV2.readTypes
      for type in types {
        try litter.service(service, type)
        litter.exchange(EntityNames.exchange(of: type))
      }
      let insert: @Sendable (String, Database) throws -> Void = { name, db in
        try db.execute(sql: "INSERT INTO came VALUES (?)", arguments: [name])
      }
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        store.inbox.on(Joined.self) { event, db, _ in try insert(event.name, db) }
        store.inbox.on(JoinedV2.self) { event, db, _ in try insert(event.last, db) }
      }
      try await withSubscriber(subscriber) {
        let relay = club.relay(to: rabbit)
        let relaying = Task { try await relay.run() }
        try await club.append([
          StreamAppend([Added(n: "Al"), JoinedOnce(n: "Bo"), Joined(name: "Cy")], to: "club-1"),
          StreamAppend([JoinedV2(first: "Di", last: "Ek")], to: "club-2"),
        ])
        #expect(
          try await eventually(timeout: .seconds(20)) {
            try await store.database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM came") } == 4
          })
        relaying.cancel()
        try await relaying.value
      }
      for type in types { #expect(try await rabbit.depth("\(service).dead.\(type)") == 0) }
    }
    let names = try await store.database.read { try String.fetchAll($0, sql: "SELECT name FROM came ORDER BY name") }
    #expect(names == ["Al", "Bo", "Cy", "Ek"])
    try await club.add(inline: People())
    let people = try await club.database.read { try String.fetchAll($0, sql: "SELECT name FROM people") }
    #expect(people == ["Al", "Bo", "Cy", "Ek"])
  }
}
