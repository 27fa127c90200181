import BrokerFixture
import Foundation
import GRDB
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore
import WarrenSupport

/// Inbox handlers that fail: their events wait in the file, for exactly so long, and in order.
@Suite(.serialized) struct ParkingTests {
  private struct Step: Event {
    static let eventType: EventType = "store-tests.step"
    var key: String
    var number: Int
  }
  private struct Failure: Error, CustomStringConvertible { var description: String { "not yet" } }

  /// A service with a file, whose handlers write to the table `done`.
  private struct Service {
    let log: EventLog
    let rabbit: RabbitMQ
    let name: ServiceName
    let publisher: Publisher
    var queue: String { "\(name).\(Step.eventType)" }
    var deadLetters: String { "\(name).dead.\(Step.eventType)" }

    func subscriber(_ policy: RetryPolicy, _ handler: some DeliveryHandler) -> Subscriber {
      var options = Subscriber.Options()
      options.retry = policy
      return Subscriber(rabbit, service: name, options: options) { handler }
    }

    func done(_ key: String? = nil) async throws -> [Int] {
      try await log.database.read {
        try Int.fetchAll(
          $0, sql: "SELECT number FROM done WHERE ?1 IS NULL OR key = ?1 ORDER BY rowid", arguments: [key])
      }
    }
  }

  private func withService<R: Sendable>(_ body: (Service) async throws -> R) async throws -> R {
    let folder = NSTemporaryDirectory() + unique("warren-parking")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = try EventLog(path: folder + "/service.sqlite", source: "tests")
    try await log.database.write { try $0.execute(sql: "CREATE TABLE done (key TEXT, number INTEGER)") }
    return try await withTestBroker { rabbit, litter in
      let name = unique("parking")
      try litter.service(name, Step.eventType)
      let service = Service(
        log: log, rabbit: rabbit, name: try ServiceName(name), publisher: Publisher(rabbit, source: "tests"))
      return try await body(service)
    }
  }

  private static func write(_ step: Step, _ db: Database) throws {
    try db.execute(sql: "INSERT INTO done VALUES (?, ?)", arguments: [step.key, step.number])
  }

  @Test func aFailedEventWaitsExactlyAsLongAsItIsTo() async throws {
    try await withService { service in
      let runs = Collected<(round: Int, at: ContinuousClock.Instant)>()
      let subscriber = service.subscriber(
        RetryPolicy(delays: [.milliseconds(370), .milliseconds(150)]),
        service.log.inbox.on(Step.self) { step, db, context in
          runs.add((context.attempt, .now))
          if context.attempt < 3 { throw Failure() }
          try Self.write(step, db)
        })
      try await withSubscriber(subscriber) {
        try await service.publisher.publish(Step(key: "a", number: 1))
        let all = try #require(await runs.wait(for: 3))
        #expect(all.map(\.round) == [1, 2, 3])
        #expect(all[1].at - all[0].at >= .milliseconds(368))
        #expect(all[2].at - all[1].at >= .milliseconds(148))
        #expect(try await eventually { try await service.log.parkedCount() == 0 })
        #expect(try await service.done() == [1])
      }
      #expect(try await service.rabbit.depth(service.queue) == 0)
      #expect(try await service.rabbit.depth(service.deadLetters) == 0)
    }
  }

  @Test func whatIsNotTriedAgainGoesFromTheFileToTheDeadLetters() async throws {
    try await withService { service in
      let subscriber = service.subscriber(
        RetryPolicy(delays: [.milliseconds(50)]),
        service.log.inbox.on(Step.self) { (_: Step, _: Database, _: InboxContext) in throw Failure() })
      try await withSubscriber(subscriber) {
        try await service.publisher.publish(Step(key: "a", number: 1))
        #expect(try await service.rabbit.waitForDepth(service.deadLetters, 1))
        #expect(try await eventually { try await service.log.parkedCount() == 0 })
      }
    }
  }

  /// It knows nothing of cancellation; the subscriber ends by its grace period nevertheless.
  @Test func aParkedHandlerThatDoesNotEndHoldsUpNoStop() async throws {
    try await withService { service in
      let (hangs, mayEnd, isOver) = (Watched(false), Watched(false), Watched(false))
      var options = Subscriber.Options()
      options.retry = RetryPolicy(delays: [.milliseconds(50)])
      options.gracePeriod = .milliseconds(200)
      let subscriber = Subscriber(service.rabbit, service: service.name, options: options) {
        service.log.inbox.on(Step.self) { (_: Step, context: InboxContext) in
          if context.attempt == 1 { throw Failure() }
          hangs.update { $0 = true }
          await Task { _ = await mayEnd.wait { $0 } }.value
        }
      }
      let running = Task {
        try await subscriber.run()
        isOver.update { $0 = true }
      }
      try await subscriber.waitUntilReady()
      try await service.publisher.publish(Step(key: "a", number: 1))
      #expect(await hangs.wait(timeout: .seconds(10)) { $0 } != nil)
      try await subscriber.pause()
      running.cancel()
      #expect(await isOver.wait(timeout: .seconds(10)) { $0 } != nil)
      // Not handled, so it is still there.
      #expect(try await service.log.parkedCount() == 1)
      mayEnd.update { $0 = true }
      try await running.value
    }
  }

  /// The broker, and the process, may be away while an event waits.
  @Test func parkedEventsOutliveTheSubscriber() async throws {
    try await withService { service in
      let isMended = Lock(false)
      @Sendable func handler() -> some DeliveryHandler {
        service.log.inbox.on(Step.self) { step, db, _ in
          if !isMended.withLock({ $0 }) { throw Failure() }
          try Self.write(step, db)
        }.orderedByKey()
      }
      let policy = RetryPolicy(delays: Array(repeating: .milliseconds(700), count: 20))
      try await withSubscriber(service.subscriber(policy, handler())) {
        for number in 0..<5 {
          try await service.publisher.publish(Step(key: "a", number: number), options: .init(key: "a"))
        }
        #expect(try await eventually { try await service.log.parkedCount(queue: service.queue) == 5 })
        // Acknowledged: the file has them.
        #expect(try await service.rabbit.waitForDepth(service.queue, 0))
      }
      #expect(try await service.rabbit.depth(service.queue) == 0)
      isMended.withLock { $0 = true }
      try await withSubscriber(service.subscriber(policy, handler())) {
        for number in 5..<8 {
          try await service.publisher.publish(Step(key: "a", number: number), options: .init(key: "a"))
        }
        #expect(try await eventually(timeout: .seconds(20)) { try await service.done().count == 8 })
        // The last one leaves the file a moment after its handler's words are in it.
        #expect(try await eventually { try await service.log.parkedCount() == 0 })
      }
      #expect(try await service.done() == Array(0..<8))
      #expect(try await service.log.parkedCount() == 0)
    }
  }

  /// Every key in order, whatever fails; against the order in which they were published. Handlers fail at random, both before
  /// and behind others of their key; the subscriber stops and starts in between.
  @Test(arguments: 0..<3) func orderHoldsUnderRandomFailures(run: Int) async throws {
    try await withService { service in
      let subscriber = { () -> Subscriber in
        service.subscriber(
          RetryPolicy(inPlace: [.milliseconds(1)], delays: Array(repeating: .milliseconds(20), count: 60)),
          service.log.inbox.on(Step.self) { step, db, _ in
            if Int.random(in: 0..<4) == 0 { throw Failure() }
            try Self.write(step, db)
          }.orderedByKey())
      }
      let (keys, count) = (["a", "b", "c", "d", "e"], 40)
      for part in 0..<2 {
        try await withSubscriber(subscriber()) {
          for number in (part * count / 2)..<((part + 1) * count / 2) {
            for key in keys {
              try await service.publisher.publish(Step(key: key, number: number), options: .init(key: key))
            }
          }
          if part == 1 {
            let all = try await eventually(timeout: .seconds(60)) {
              try await service.done().count == keys.count * count
            }
            #expect(all)
          }
        }
      }
      for key in keys { #expect(try await service.done(key) == Array(0..<count), "\(key)") }
      #expect(try await service.rabbit.depth(service.deadLetters) == 0)
    }
  }
}
