import BrokerFixture
import Foundation
import GRDB
import Logging
import Testing
import Warren
import WarrenRabbitMQ
import WarrenStore
import WarrenSupport

/// Order per key against a model, with handlers that fail, connections that are cut, and subscribers that are stopped in the
/// middle. `WARREN_ORDER_RUNS` runs of each kind, `WARREN_ORDER_SEED` the first one's seed.
@Suite(.serialized) struct OrderModelTests {
  private struct Move: Event {
    static let eventType: EventType = "store-tests.move"
    var key: String
    var number: Int
  }
  private struct Failure: Error {}

  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap(UInt64.init)
  }
  private static let runs = number("WARREN_ORDER_RUNS") ?? 5
  private static let firstSeed = number("WARREN_ORDER_SEED") ?? UInt64.random(in: 0...UInt64(UInt32.max))

  /// What one run does, decided before it begins.
  private struct Plan {
    var keys: Int
    var count: Int
    var failsOneIn: Int
    var stops: Int
    var cuts: Int
    var pauses: [Duration]

    init(_ seed: UInt64) {
      var random = Random(state: seed)
      keys = .random(in: 1...6, using: &random)
      count = .random(in: 5...30, using: &random)
      failsOneIn = .random(in: 2...10, using: &random)
      stops = .random(in: 0...2, using: &random)
      cuts = .random(in: 0...4, using: &random)
      pauses = (0..<8).map { _ in .milliseconds(Int.random(in: 5...200, using: &random)) }
    }
    var names: [String] { (0..<keys).map { "k\($0)" } }
  }

  /// What was handled, in order: a consumer may see a suffix again, never a first sight out of order.
  private final class Sights: Sendable {
    private let sights = Lock<[String: [Int]]>([:])
    func add(_ move: Move) { sights.withLock { $0[move.key, default: []].append(move.number) } }
    func isComplete(_ plan: Plan) -> Bool {
      sights.withLock { sights in plan.names.allSatisfy { Set(sights[$0] ?? []).count == plan.count } }
    }
    /// The order in which numbers were first seen.
    func firsts(of key: String) -> [Int] {
      var seen: Set<Int> = []
      return sights.withLock { $0[key] ?? [] }.filter { seen.insert($0).inserted }
    }
  }

  @Test(arguments: [false, true]) func everyKeyInItsOrder(withStore: Bool) async throws {
    print("order model: WARREN_ORDER_SEED=\(Self.firstSeed), \(Self.runs) runs, with a store: \(withStore)")
    for run in 0..<Self.runs {
      let seed = Self.firstSeed &+ run
      let isInOrder = try await self.run(Plan(seed), withStore: withStore)
      #expect(isInOrder, "repeat with WARREN_ORDER_SEED=\(seed) WARREN_ORDER_RUNS=1")
    }
  }

  private func run(_ plan: Plan, withStore: Bool) async throws -> Bool {
    let folder = NSTemporaryDirectory() + unique("warren-order")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let log = withStore ? try EventLog(path: folder + "/order.sqlite", source: "tests") : nil
    try await log?.database.write { try $0.execute(sql: "CREATE TABLE moves (key TEXT, number INTEGER)") }
    let sights = Sights()
    return try await withTestBroker { rabbit, litter in
      let name = unique("order")
      try litter.service(name, Move.eventType)
      let service = try ServiceName(name)
      let proxy = try FaultProxy(to: TestBroker.plainConfiguration.hosts[0].port)
      defer { proxy.close() }
      var configuration = try TestBroker.plainConfiguration
      configuration.hosts[0].name = "127.0.0.1"
      configuration.hosts[0].port = proxy.port
      // Not in the scope for scripts, where a subscriber ends whose first connection is cut.
      let proxied = try RabbitMQ(configuration, logger: Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() })
      let connecting = Task { try await proxied.run() }
      let result: Result<Bool, any Error>
      do {
        let subscriber = { @Sendable () -> Subscriber in
          var options = Subscriber.Options()
          options.retry = RetryPolicy(
            inPlace: [.milliseconds(1)], delays: Array(repeating: .milliseconds(15), count: 90))
          // A quarter of it may wait behind failing events, and that is everything there is: pausing is another test's matter.
          options.prefetch = 1000
          options.gracePeriod = .milliseconds(100)
          return Subscriber(
            proxied, service: service, options: options,
            logger: Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
          ) { [Self.handler(plan, log, sights)] }
        }
        // Nothing is lost that is published before it reads: the queue must be there.
        let owner = try QueueOwner(service: service)
        try await rabbit.topology.redeclare(
          TopologyEntity.subscription(owner, Move.eventType, .init(singleActiveConsumer: true)))
        result = .success(
          try await self.run(plan, subscriber, rabbit, proxy, log, sights, "\(name).dead.\(Move.eventType)"))
      } catch {
        result = .failure(error)
      }
      connecting.cancel()
      _ = await connecting.result
      return try result.get()
    }
  }

  private static func handler(_ plan: Plan, _ log: EventLog?, _ sights: Sights) -> any DeliveryHandler {
    let fails: @Sendable () -> Bool = { Int.random(in: 0..<plan.failsOneIn) == 0 }
    guard let log else {
      return On(Move.self, orderedBy: \.key) { move, _ in
        try await Task.sleep(for: .microseconds(Int.random(in: 0...2000)))
        if fails() { throw Failure() }
        sights.add(move)
      }
    }
    return log.inbox.on(Move.self) { move, db, _ in
      if fails() { throw Failure() }
      try db.execute(sql: "INSERT INTO moves VALUES (?, ?)", arguments: [move.key, move.number])
    }.orderedByKey()
  }

  private func run(
    _ plan: Plan, _ makeSubscriber: @Sendable () -> Subscriber, _ rabbit: RabbitMQ, _ proxy: FaultProxy,
    _ log: EventLog?, _ sights: Sights, _ deadLetters: String
  ) async throws -> Bool {
    var running = Task { [subscriber = makeSubscriber()] in try await subscriber.run() }
    defer { running.cancel() }
    let publisher = Publisher(rabbit, source: "tests")
    let publishing = Task {
      for number in 0..<plan.count {
        for key in plan.names {
          try await publisher.publish(Move(key: key, number: number), options: .init(key: key))
        }
      }
    }
    for (step, pause) in plan.pauses.enumerated() {
      try await Task.sleep(for: pause)
      if step < plan.cuts { proxy.cut() }
      if step >= plan.pauses.count - plan.stops {
        // As abruptly as a task can end.
        running.cancel()
        _ = await running.result
        running = Task { [subscriber = makeSubscriber()] in try await subscriber.run() }
      }
    }
    try await publishing.value
    let isDone = try await eventually(timeout: .seconds(40)) {
      guard let log else { return sights.isComplete(plan) }
      return try await log.database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM moves") }
        == plan.keys * plan.count
    }
    #expect(isDone)
    #expect(try await rabbit.depth(deadLetters) == 0)
    for key in plan.names {
      let order =
        if let log {
          try await log.database.read {
            try Int.fetchAll($0, sql: "SELECT number FROM moves WHERE key = ? ORDER BY rowid", arguments: [key])
          }
        } else {
          sights.firsts(of: key)
        }
      guard order == Array(0..<plan.count) else {
        Issue.record("\(key): \(order)")
        return false
      }
    }
    return isDone
  }

  /// SplitMix64 (Steele, Lea and Flood).
  private struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
  }
}
