import Foundation
import GRDB
import Testing
import Warren
import WarrenStore
import WarrenTesting

struct Door: Decider {
  enum Command: Sendable { case open, close, paint(String) }
  enum Event: EventFamily {
    static let family: EventType = "door"
    static var eventTypes: [EventType] { ["door.opened", "door.closed", "door.painted"] }
    case opened, closed
    case painted(colour: String)
  }
  enum Refusal: Error, Equatable { case isOpen, isClosed }
  static let category = "door"
  var isOpen = false

  func decide(_ command: Command) throws(Refusal) -> [Event] {
    switch command {
    case .open where isOpen: throw .isOpen
    case .open: [.opened]
    case .close where !isOpen: throw .isClosed
    case .close: [.closed]
    case .paint(let colour): colour.isEmpty ? [] : [.painted(colour: colour)]
    }
  }
  mutating func evolve(_ event: Event) {
    switch event {
    case .opened: isOpen = true
    case .closed: isOpen = false
    case .painted: break
    }
  }
}

struct SpecificationTests {
  @Test func whatHoldsPasses() throws {
    try given(Door.self).when(.open).then(.opened).thenState { $0.isOpen }
    try given(Door.self, .opened).when(.close).then(.closed)
    try given(Door.self, events: [.opened, .closed]).when(.paint("red")).then(.painted(colour: "red"))
    try given(Door.self).when(.paint("")).thenNothing()
    try given(Door.self, .opened).when(.open).refuses(.isOpen)
    #expect(try given(Door.self).when(.close).refuses() == .isClosed)
    #expect(given(Door.self, .opened).state.isOpen)
  }

  @Test func whatDoesNotHoldIsSaid() throws {
    func said(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "passed"
      } catch {
        return "\(error)"
      }
    }
    #expect(said { try given(Door.self).when(.open).then(.closed) } == "expected closed, and it was opened")
    #expect(said { try given(Door.self).when(.open).thenNothing() } == "expected no event, and it was opened")
    #expect(
      said { try given(Door.self).when(.paint("red")).then(.painted(colour: "blue")) }
        == #"expected painted(colour: "blue"), and it was painted(colour: "red")"#)
    #expect(said { try given(Door.self).when(.close).then(.closed) }.contains("refused: isClosed"))
    #expect(said { try given(Door.self).when(.open).refuses(.isOpen) }.contains("expected a refusal"))
    #expect(said { try given(Door.self).when(.close).refuses(.isOpen) }.contains("and it was isClosed"))
    #expect(said { try given(Door.self).when(.open).thenState { !$0.isOpen } }.contains("not as expected"))
  }
}

/// How often each door was opened. `isHonest` false: it counts something that is not in the events.
struct Openings: Projection {
  let name = "openings", version = 1
  let eventTypes = Door.Event.readTypes
  var isHonest = true

  func create(_ context: ProjectionContext) throws {
    try context.db.execute(sql: "CREATE TABLE \(context.table("openings")) (door TEXT PRIMARY KEY, n INTEGER, at TEXT)")
  }
  func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
    guard case .opened = try event.decoded(as: Door.Event.self) else { return }
    try context.db.execute(
      sql: """
        INSERT INTO \(context.table("openings")) VALUES (?1, 1, ?2)
        ON CONFLICT DO UPDATE SET n = n + 1, at = ?2
        """, arguments: [event.stream.name, isHonest ? "" : UUID().uuidString])
  }
}

struct ProjectionBenchTests {
  private func opened(_ store: EventLog) async throws {
    try await store.run(Door.self, "front", .open)
    try await store.run(Door.self, "front", .close)
    try await store.run(Door.self, "front", .open)
    try await store.run(Door.self, "back", .open)
  }

  @Test func theTablesAreThereToBeRead() async throws {
    try await given(projection: Openings()) { store in
      try await opened(store)
    } then: { db in
      let counts = try Int.fetchAll(db, sql: "SELECT n FROM openings ORDER BY door")
      #expect(counts == [1, 2])
    }
  }

  @Test func whatDependsOnSomethingElseThanTheEventsIsFound() async throws {
    await #expect(throws: SpecificationFailed.self) {
      try await given(projection: Openings(isHonest: false)) { store in
        try await opened(store)
      } then: { _ in
      }
    }
  }
}
