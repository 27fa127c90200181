import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore

struct Stocked: Event, Hashable {
  static let eventType: EventType = "store-tests.stocked"
  var number: Int
}

/// The whole way: recorded in one file, relayed over a real broker, handled through the inbox of another file.
struct StoreOverBrokerTests {
  final class Folder: Sendable {
    let path = NSTemporaryDirectory() + unique("warren-store-broker")
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
    func log(_ name: String) throws -> EventLog { try EventLog(path: "\(path)/\(name).sqlite", source: "tests") }
  }

  private func encoded(_ number: Int, _ type: EventType, key: String? = nil) -> EncodedEvent {
    var metadata = EventMetadata(type: type, source: "tests")
    metadata.key = key
    return EncodedEvent(metadata: metadata, body: Data(#"{"number":\#(number)}"#.utf8))
  }

  private func withRelay<R>(_ relay: Relay, _ body: () async throws -> R) async throws -> R {
    let running = Task { try await relay.run() }
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

  @Test func anEventGoesFromTransactionToTransaction() async throws {
    let folder = try Folder()
    let (shop, store) = (try folder.log("shop"), try folder.log("store"))
    try await store.database.write { try $0.execute(sql: "CREATE TABLE stock (number INTEGER)") }
    try await withTestBroker { rabbit, litter in
      let service = unique("store")
      try litter.service(service, Stocked.eventType)
      litter.exchange(EntityNames.exchange(of: Stocked.eventType))
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        store.inbox.on(Stocked.self) { event, db, context in
          #expect(context.isDeduplicated)
          try db.execute(sql: "INSERT INTO stock VALUES (?)", arguments: [event.number])
        }
      }
      let publisher = Publisher(rabbit, source: "shop", log: shop)
      try await withSubscriber(subscriber) {
        try await withRelay(shop.relay(to: rabbit)) {
          for number in 0..<50 {
            let receipt = try await publisher.publish(Stocked(number: number), options: .init(key: "k"))
            #expect(receipt.position == LogPosition(rawValue: Int64(number + 1)))
          }
          let receipts = try await publisher.publish(contentsOf: (50..<100).map { Stocked(number: $0) })
          #expect(receipts.count == 50)
          let all = try await eventually(timeout: .seconds(30)) {
            try await store.database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM stock") } == 100
          }
          #expect(all)
          let status = try await shop.status()
          #expect(status.held.isEmpty && status.relayProcess == getpid())
        }
      }
      let numbers = try await store.database.read { try Int.fetchAll($0, sql: "SELECT number FROM stock") }
      #expect(Set(numbers) == Set(0..<100))
      #expect(try await rabbit.depth("\(service).dead.\(Stocked.eventType)") == 0)
    }
  }

  @Test func waitingForTheConfirmIsAChoice() async throws {
    let folder = try Folder()
    let log = try folder.log("log")
    try await withTestBroker({ $0.publishing.timeout = .seconds(5) }) { rabbit, litter in
      let type = try litter.type("waited")
      let queue = unique("waited")
      try await rabbit.topology.ensure([.exchange(of: type)])
      try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: type), "#")], litter: litter)
      let publisher = Publisher(rabbit, source: "tests")
      try await withRelay(log.relay(to: publisher)) {
        let positions = try await log.record(encoded: (0..<20).map { encoded($0, type, key: "k\($0 % 3)") })
        #expect(
          try await log.waitUntilPublished(positions, timeout: .seconds(20)) == positions.map { _ in .confirmed })
        let nobody = try litter.type("nobody")
        let lonely = try await log.record(encoded: [encoded(0, nobody)])
        let outcome = try await log.waitUntilPublished(lonely, timeout: .seconds(20)).first
        guard case .unroutable = outcome else {
          Issue.record("\(String(describing: outcome))")
          return
        }
      }
      #expect(try await rabbit.depth(queue) == 20)
    }
  }

  @Test func whatNobodyWasBoundForFollowsInOrderOnceSomebodyIs() async throws {
    let folder = try Folder()
    let log = try folder.log("log")
    try await withTestBroker { rabbit, litter in
      let type = try litter.type("late")
      let service = unique("late")
      try litter.service(service, type)
      _ = try await log.record(encoded: (0..<30).map { encoded($0, type, key: "k\($0 % 2)") })
      let got = Collected<(key: String?, number: Int)>()
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        OnRaw([type], queue: .init(concurrency: 1)) { delivery, context in
          let number = try JSONDecoder().decode(Stocked.self, from: delivery.body).number
          got.add((context.metadata.key, number))
        }
      }
      try await withRelay(log.relay(to: rabbit)) {
        let isHeld = try await eventually(timeout: .seconds(20)) { try await log.status().held["unroutable"] == 30 }
        #expect(isHeld)
        try await withSubscriber(subscriber) { _ = await got.wait(for: 30, timeout: .seconds(30)) }
      }
      for key in 0..<2 {
        let numbers = got.all.filter { $0.key == "k\(key)" }.map(\.number)
        #expect(numbers == Array(stride(from: key, to: 30, by: 2)))
      }
    }
  }

  /// One lane that nobody is bound for, one that the broker refuses, one with a full queue: the others are not held up, and
  /// each follows in order when its cause is gone.
  @Test func sickLanesHoldUpNobodyAndFollowInOrder() async throws {
    let folder = try Folder()
    let log = try folder.log("log")
    try await withTestBroker { rabbit, litter in
      let (fine, lonely, stuck, bad) = (
        try litter.type("fine"), try litter.type("lonely"), try litter.type("stuck"), try litter.type("bad")
      )
      let (queue, full) = (unique("fine"), unique("full"))
      for type in [fine, lonely, stuck, bad] { try await rabbit.topology.ensure([.exchange(of: type)]) }
      try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: fine), "#")], litter: litter)
      try await rabbit.testQueue(
        full, arguments: ["x-queue-type": "classic", "x-max-length": 5, "x-overflow": "reject-publish"],
        bound: [(EntityNames.exchange(of: stuck), "#")], litter: litter)
      var events: [EncodedEvent] = []
      for number in 0..<40 {
        events += (0..<10).map { encoded(number, fine, key: "k\($0)") }
        events += [lonely, stuck, bad].map { encoded(number, $0, key: "s") }
        // More than fits into a frame, so it can never be published as it is.
        if number == 0 { events[12].metadata.headers["large"] = .string(String(repeating: "x", count: 200_000)) }
      }
      _ = try await log.record(encoded: events)
      let service = unique("late")
      for type in [lonely, stuck, bad] { try litter.service(service, type) }
      let got = Collected<(type: EventType, number: Int)>()
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        OnRaw([lonely, stuck, bad], queue: .init(concurrency: 1)) { delivery, _ in
          got.add((delivery.type, try JSONDecoder().decode(Stocked.self, from: delivery.body).number))
        }
      }
      try await withRelay(log.relay(to: rabbit)) {
        let flows = try await rabbit.waitForDepth(queue, 400, timeout: .seconds(30))
        #expect(flows)
        let isHeld = try await eventually(timeout: .seconds(20)) {
          let expected = ["unroutable": 40, "refused": 40, "congested": 40 - (try await rabbit.depth(full))]
          let status = try await log.status()
          return status.backlogRows == 0 && status.held == expected
        }
        let held = try await log.status().held
        #expect(isHeld, "\(held)")
        // The causes go: a queue is bound, the full one is emptied, an operator removes the one that cannot be published.
        let taken = try await rabbit.depth(full)
        try await rabbit.topology.perform(.deleteQueue(full))
        #expect(try await log.discard(.positions([LogPosition(rawValue: 13)])) == 1)
        _ = try await log.retry(.cause("refused"))
        try await withSubscriber(subscriber) { _ = await got.wait(for: 119 - taken, timeout: .seconds(60)) }
        for (type, first) in [(lonely, 0), (stuck, taken), (bad, 1)] {
          #expect(got.all.filter { $0.type == type }.map(\.number) == Array(first..<40), "\(type)")
        }
        let isEmpty = try await eventually(timeout: .seconds(20)) { try await log.status().held.isEmpty }
        #expect(isEmpty)
      }
    }
  }

  @Test func aMissingPermissionOrExchangeIsProbedAndNotBlamedOnTheEvent() async throws {
    let folder = try Folder()
    let log = try folder.log("log")
    try await withTestBroker { rabbit, litter in
      let (type, fine) = (try litter.type("gone"), try litter.type("fine"))
      let (queue, other) = (unique("gone"), unique("fine"))
      for (type, queue) in [(type, queue), (fine, other)] {
        try await rabbit.topology.ensure([.exchange(of: type)])
        try await rabbit.testQueue(queue, bound: [(EntityNames.exchange(of: type), "#")], litter: litter)
      }
      let publisher = Publisher(rabbit, source: "tests")
      #expect(await publisher.publish(encoded: [encoded(0, type)]) == [.confirmed])
      // Behind the back of a publisher that knows the exchange.
      try await rabbit.topology.perform(.deleteExchange(EntityNames.exchange(of: type)))
      try await withRelay(log.relay(to: publisher)) {
        _ = try await log.record(encoded: (1..<21).map { encoded($0, $0 % 2 == 0 ? type : fine, key: "k") })
        // The broker closes the channel, and what was under way is written again: there may be repeats.
        let flows = try await eventually(timeout: .seconds(20)) { try await rabbit.depth(other) >= 10 }
        #expect(flows)
        // The next try declares it again; nobody is bound then.
        let isHeld = try await eventually(timeout: .seconds(20)) {
          let held = try await log.status().held
          return held["refused"] == nil && (held["exchange"] ?? 0) + (held["unroutable"] ?? 0) == 10
        }
        #expect(isHeld)
        let isBack = try await eventually(timeout: .seconds(20)) {
          (try? await rabbit.topology.perform(.bind(queue: queue, exchange: EntityNames.exchange(of: type), key: "#")))
            != nil
        }
        #expect(isBack)
        let isComplete = try await eventually(timeout: .seconds(30)) { try await rabbit.depth(queue) >= 11 }
        #expect(isComplete)
      }
      #expect(try await log.status().held.isEmpty)
    }
  }
}
