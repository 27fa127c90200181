import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore
import WarrenSupport

/// History goes to one service that came later, and to nobody else.
struct ReplayTests {
  struct Landed: Event, Hashable {
    static let eventType: EventType = "replay-tests.landed"
    static let publishes = true
    var number: Int
  }

  @Test func aServiceThatCameLaterGetsTheHistoryAndOthersDoNot() async throws {
    let folder = try StoreOverBrokerTests.Folder()
    let (tower, store) = (try folder.log("tower"), try folder.log("late"))
    try await store.database.write { try $0.execute(sql: "CREATE TABLE landed (number INTEGER)") }
    try await withTestBroker { rabbit, litter in
      let (early, late) = (unique("early"), unique("late"))
      for service in [early, late] { try litter.service(service, Landed.eventType) }
      litter.exchange(EntityNames.exchange(of: Landed.eventType))
      let came = Lock<[Int]>([])
      let first = Subscriber(rabbit, service: try ServiceName(early)) {
        On(Landed.self, queue: .init(concurrency: 1)) { event, _ in came.withLock { $0.append(event.number) } }
      }
      let second = Subscriber(rabbit, service: try ServiceName(late)) {
        store.inbox.on(Landed.self) { event, db, context in
          try db.execute(sql: "INSERT INTO landed VALUES (?)", arguments: [event.number])
          #expect((context.metadata.replay != nil) == (event.number <= 30))
        }.replays(.handle)
      }
      let relay = tower.relay(to: rabbit)
      try await withSubscriber(first) {
        let relaying = Task { try await relay.run() }
        try await tower.append((1...30).map { Landed(number: $0) }, to: "runway-1")
        #expect(try await eventually(timeout: .seconds(20)) { came.withLock { $0.count } == 30 })
        try await withSubscriber(second) {
          // Twice with one id: the second time nothing happens.
          for _ in 0..<2 {
            let done = try await tower.replay(
              .init(types: Landed.readTypes), as: "r1", to: try rabbit.queues(of: try ServiceName(late)))
            #expect(done.events == 30)
          }
          try await tower.append([Landed(number: 31)], to: "runway-1")
          #expect(
            try await eventually(timeout: .seconds(20)) {
              try await store.database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM landed") } == 31
            })
          // A handler that has not asked for them acknowledges them, unhandled.
          _ = try await tower.replay(.init(), as: "r2", to: try rabbit.queues(of: try ServiceName(early)))
          #expect(try await eventually(timeout: .seconds(20)) { came.withLock { $0.count } == 31 })
          try await tower.append([Landed(number: 32)], to: "runway-1")
          #expect(try await eventually(timeout: .seconds(20)) { came.withLock { $0.last } == 32 })
          #expect(came.withLock { $0 } == Array(1...32))
        }
        relaying.cancel()
        try await relaying.value
      }
      let numbers = try await store.database.read {
        try Int.fetchAll($0, sql: "SELECT number FROM landed ORDER BY number")
      }
      #expect(numbers.filter { $0 <= 31 } == Array(1...31))
      #expect(try await rabbit.depth("\(late).dead.\(Landed.eventType)") == 0)
      #expect(try await rabbit.depth("\(early).dead.\(Landed.eventType)") == 0)
      // Without a queue, nothing is lost in silence.
      let nobody = unique("nobody")
      do {
        try await tower.replay(.init(), to: try rabbit.queues(of: try ServiceName(nobody)))
        Issue.record("was replayed to nobody")
      } catch let error as ReplayError {
        guard case .unroutable(let text) = error.outcome else {
          Issue.record("\(error)")
          return
        }
        #expect(text.contains("\(nobody).\(Landed.eventType)"))
      }
    }
  }
}
