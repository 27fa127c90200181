import BrokerFixture
import Foundation
import Logging
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// Seeded runs of a publisher and a worker behind a proxy that cuts, holds, slows and refuses at random moments and bytes.
///
/// After each: every publish has ended with its outcome, everything that was confirmed was handled, publishing and consuming
/// go on within five seconds, one consumer is there and none after the end, and no thread or descriptor is left.
@Suite(.serialized) struct ProxyFaultTests {
  private struct Note: Event {
    static let eventType: EventType = "faults.note"
    var number: Int
  }

  private struct Ledger: Sendable {
    var confirmed: Set<Int> = []
    var failed: [Int: PublishError] = [:]
    var handled: [Int: Int] = [:]
  }

  @Test func seededRuns() async throws {
    let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
    try await withTestBroker { direct, litter in
      litter.exchange(EntityNames.exchange(of: Note.eventType))
      var before: Leaks?
      var memory = 0
      // Four at once: a run mostly waits.
      for first in stride(from: 0, to: FaultRuns.count, by: 4) {
        let seeds = (first..<min(first + 4, FaultRuns.count)).map { FaultRuns.seed + UInt64($0) }
        // Before anything is tried: a trap prints no failure.
        print("WARREN_FAULT_SEED=\(seeds[0]) WARREN_FAULT_RUNS=\(seeds.count)")
        try await withThrowingTaskGroup(of: Void.self) { group in
          for seed in seeds {
            group.addTask {
              let service = unique("faults")
              try litter.service(service, Note.eventType)
              try await run(seed, service: ServiceName(service), direct: direct, logger: silent)
            }
          }
          try await group.waitForAll()
        }
        // The first runs fill what a process keeps for good.
        if first == 0 {
          before = try await Leaks.before()
          memory = Leaks.residentBytes
        }
        if let before {
          #expect(try await Leaks.areGone(since: before), "seeds \(seeds): \(before), now \(Leaks.now)")
        }
      }
      let growth = Leaks.residentBytes - memory
      print("memory grew by \(growth >> 10) KiB from the fifth to the last of \(FaultRuns.count) runs")
      #expect(growth < 64 << 20)
    }
  }

  private func run(_ seed: UInt64, service: ServiceName, direct: RabbitMQ, logger: Logger) async throws {
    var random = SeededRandom(seed)
    let proxy = try FaultProxy(to: TestBroker.configuration.hosts[0].port)
    defer { proxy.close() }
    // So that a publish before the subscriber is there finds its queue.
    let owner = try QueueOwner(service: service)
    // Runs share the exchange, each with a routing key of its own.
    let mine = QueueOptions(patterns: [service.name])
    let toMe = PublishOptions(routingKey: service.name)
    try await direct.topology.redeclare(TopologyEntity.subscription(owner, Note.eventType, mine))

    var configuration = try TestBroker.configuration
    configuration.hosts = [.init("127.0.0.1", port: proxy.port)]
    configuration.heartbeat = .seconds(1)
    configuration.connectTimeout = .seconds(1)
    configuration.requestTimeout = .seconds(3)
    configuration.publishing.window = Int.random(in: 1...100, using: &random)
    configuration.publishing.timeout = .seconds(40)
    configuration.recoveryPace.afterLoss = 0...20
    configuration.recoveryPace.unreachable = 10...100
    configuration.recoveryPace.settled = .milliseconds(200)
    let rabbit = try RabbitMQ(configuration, logger: logger)
    let ledger = Watched(Ledger())
    let slow = Bool.random(using: &random)
    let subscriber = Subscriber(rabbit, service: service, logger: logger) {
      On(Note.self, queue: mine) { note, _ in
        if slow, note.number % 7 == 0 { try? await Task.sleep(for: .milliseconds(5)) }
        ledger.update { $0.handled[note.number, default: 0] += 1 }
      }
    }
    let running = Task { try await rabbit.run() }
    let consuming = Task { try await subscriber.run() }
    let count = 240
    let publishing = Task { await publish(count, through: Publisher(rabbit, source: "tests"), toMe, ledger) }

    let end = ContinuousClock.now + .milliseconds(Int.random(in: 100...1200, using: &random))
    while ContinuousClock.now < end {
      try await Task.sleep(for: .milliseconds(Int.random(in: 1...60, using: &random)))
      try await inject(proxy, &random)
    }
    proxy.behave { $0 = .init() }

    // Whatever happened: it goes on within five seconds.
    let healed = ContinuousClock.now
    try await Publisher(rabbit, source: "tests").publish(Note(number: -1), options: toMe)
    try await subscriber.waitUntilReady(timeout: .seconds(20))
    let resumed = ContinuousClock.now - healed
    #expect(resumed < .seconds(5), "seed \(seed): resumed after \(resumed)")

    await publishing.value
    let published = ledger.value
    #expect(published.failed.isEmpty, "seed \(seed): \(published.failed.first.map { "\($0)" } ?? "")")
    #expect(published.confirmed.count == count, "seed \(seed)")
    let handled = await ledger.wait(timeout: .seconds(20)) { ledger in
      ledger.confirmed.allSatisfy { ledger.handled[$0] != nil } && ledger.handled[-1] != nil
    }
    #expect(
      handled != nil,
      "seed \(seed): confirmed and not handled: \(ledger.value.confirmed.subtracting(ledger.value.handled.keys).sorted())"
    )
    let queue = EntityNames.workQueue(of: owner, type: Note.eventType)
    #expect(try await direct.waitForDepth(queue, 0), "seed \(seed)")
    #expect(try await eventually { try await consumers(of: queue, direct) == 1 }, "seed \(seed)")
    #expect(rabbit.health.isReady, "seed \(seed): \(rabbit.health)")

    // Gracefully: what is being handled again is acknowledged.
    subscriber.stop()
    try await consuming.value
    running.cancel()
    try await running.value
    #expect(try await eventually { try await consumers(of: queue, direct) == 0 }, "seed \(seed)")
    // What was sent ahead for a second time is back.
    if try await direct.depth(queue) > 0 {
      let again = Subscriber(direct, service: service, logger: logger) {
        On(Note.self, queue: mine) { note, _ in ledger.update { $0.handled[note.number, default: 0] += 1 } }
      }
      let isHandled = ledger.value.handled
      try await withSubscriber(again) {
        let isEmpty = try await direct.waitForDepth(queue, 0)
        #expect(isEmpty, "seed \(seed)")
      }
      #expect(
        Set(ledger.value.handled.keys) == Set(isHandled.keys), "seed \(seed): handled for the first time at the end")
    }
    for entity in [queue, EntityNames.deadLetterQueue(of: owner, type: Note.eventType)] {
      _ = try await direct.topology.perform(.deleteQueue(entity))
    }
  }

  private func publish(
    _ count: Int, through publisher: Publisher, _ options: PublishOptions, _ ledger: Watched<Ledger>
  ) async {
    await withTaskGroup(of: Void.self) { group in
      // Half of them one behind the other on four tasks, half in batches.
      for lane in 0..<4 {
        group.addTask {
          for number in stride(from: lane, to: count / 2, by: 4) {
            do {
              try await publisher.publish(Note(number: number), options: options)
              ledger.update { _ = $0.confirmed.insert(number) }
            } catch {
              let error = error as? PublishError ?? PublishError(.unknown("\(error)"), of: .init(type: Note.eventType))
              ledger.update { $0.failed[number] = error }
            }
          }
        }
      }
      group.addTask {
        for first in stride(from: count / 2, to: count, by: 30) {
          let numbers = Array(first..<min(first + 30, count))
          do {
            try await publisher.publish(contentsOf: numbers.map { Note(number: $0) }) { _ in options }
            ledger.update { $0.confirmed.formUnion(numbers) }
          } catch {
            let outcomes = (error as? BatchPublishError)?.outcomes ?? numbers.map { _ in .unknown("\(error)") }
            ledger.update { ledger in
              for (number, outcome) in zip(numbers, outcomes) {
                if let failure = PublishError(outcome, of: .init(type: Note.eventType)) {
                  ledger.failed[number] = failure
                } else {
                  ledger.confirmed.insert(number)
                }
              }
            }
          }
        }
      }
    }
  }

  private func inject(_ proxy: FaultProxy, _ random: inout SeededRandom) async throws {
    let bytes = Int.random(in: 1...4000, using: &random)
    let pause = Duration.milliseconds(Int.random(in: 1...120, using: &random))
    switch Int.random(in: 0..<11, using: &random) {
    case 0, 1: proxy.behave { $0.cutAfterUp = bytes }
    case 2, 3: proxy.behave { $0.cutAfterDown = bytes }
    case 4: proxy.cut()
    case 5:
      // Half-open: nobody sees an end; then there is one, or all goes on.
      proxy.behave { ($0.holdsUp, $0.holdsDown) = (true, true) }
      try await Task.sleep(for: pause)
      if Bool.random(using: &random) { proxy.cut() }
      proxy.behave { ($0.holdsUp, $0.holdsDown) = (false, false) }
    case 6:
      // One-way.
      let isUp = Bool.random(using: &random)
      proxy.behave { behaviour in if isUp { behaviour.holdsUp = true } else { behaviour.holdsDown = true } }
      try await Task.sleep(for: pause)
      proxy.behave { ($0.holdsUp, $0.holdsDown) = (false, false) }
    case 7:
      proxy.behave { $0.bytesPerTurn = max(200, bytes) }
      try await Task.sleep(for: pause)
      proxy.behave { $0.bytesPerTurn = nil }
    case 8:
      proxy.behave { $0.refuses = true }
      proxy.cut()
      try await Task.sleep(for: pause)
      proxy.behave { $0.refuses = false }
    case 9:
      proxy.behave { $0.delay = UInt32(bytes) * 5 }
      try await Task.sleep(for: pause)
      proxy.behave { $0.delay = 0 }
    default:
      try await Task.sleep(for: pause)
    }
  }

  private func consumers(of queue: String, _ rabbit: RabbitMQ) async throws -> Int {
    let reply = try await rabbit.topology.perform(
      .declareQueue(queue, passive: true, durable: true, exclusive: false, autoDelete: false, arguments: [:]))
    guard case .queue(_, _, let consumers) = reply else { return -1 }
    return consumers
  }
}
