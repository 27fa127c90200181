import BrokerFixture
import Foundation
import Logging
import Testing
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// A publisher and a worker at work while something is done to their broker, with a ledger of what became of each event.
final class Load: Sendable {
  struct Note: Event {
    static let eventType: EventType = "load.note"
    var number: Int
  }
  struct Ledger: Sendable {
    var confirmed: Set<Int> = []
    var failed: [Int: PublishError] = [:]
    var handled: Set<Int> = []
    var deliveries = 0
    /// Gone with their queue, as a fault is expected to do.
    var gone: Set<Int> = []
    /// When something was last confirmed, and last handled.
    var lastConfirm = ContinuousClock.now
    var lastHandling = ContinuousClock.now
    var next = 0
  }

  let rabbit: RabbitMQ
  let subscriber: Subscriber
  let service: ServiceName
  let ledger: Watched<Ledger>
  private let isOver = Watched(false)

  private init(_ configuration: RabbitMQConfiguration) throws {
    let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
    let ledger = Watched(Ledger())
    self.ledger = ledger
    service = try ServiceName(unique("load"))
    rabbit = try RabbitMQ(configuration, logger: silent)
    subscriber = Subscriber(rabbit, service: service, logger: silent) {
      On(Note.self) { note, _ in
        ledger.update { ledger in
          ledger.handled.insert(note.number)
          ledger.deliveries += 1
          ledger.lastHandling = .now
        }
      }
    }
  }

  var queue: String {
    get throws { EntityNames.workQueue(of: try QueueOwner(service: service), type: Note.eventType) }
  }

  /// Runs `body` under load. Afterwards every publish has its outcome, all that was confirmed was handled, and the queue is
  /// empty; nothing of it stays on the broker.
  static func run(
    _ configuration: RabbitMQConfiguration, lanes: Int = 8, _ body: (Load) async throws -> Void
  ) async throws {
    let before = try await Leaks.before()
    let load = try Load(configuration)
    let connection = Task { try await load.rabbit.run() }
    let consuming = Task { try await load.subscriber.run() }
    try await load.subscriber.waitUntilReady()
    let publisher = Publisher(load.rabbit, source: "tests")
    let publishing = (0..<lanes).map { _ in Task { await load.publish(through: publisher) } }
    #expect(await load.ledger.wait(timeout: .seconds(20)) { $0.handled.count > 100 } != nil)

    try await body(load)

    load.isOver.update { $0 = true }
    for lane in publishing { await lane.value }
    let end = await load.ledger.wait(timeout: .seconds(60)) { $0.confirmed.isSubset(of: $0.handled.union($0.gone)) }
    let ledger = load.ledger.value
    #expect(
      end != nil, "confirmed and not handled: \(ledger.confirmed.subtracting(ledger.handled).sorted().prefix(20))")
    #expect(ledger.confirmed.count + ledger.failed.count == ledger.next)
    #expect(load.rabbit.health.isReady, "\(load.rabbit.health)")
    print(
      "\(ledger.next) published, \(ledger.failed.count) failed, \(ledger.deliveries - ledger.handled.count) repeats")
    load.subscriber.stop()
    try await consuming.value
    for queue in [
      try load.queue, EntityNames.deadLetterQueue(of: try QueueOwner(service: load.service), type: Note.eventType),
    ] {
      try await load.rabbit.topology.perform(.deleteQueue(queue))
    }
    try await load.rabbit.topology.perform(.deleteExchange(EntityNames.exchange(of: Note.eventType)))
    connection.cancel()
    try await connection.value
    #expect(try await Leaks.areGone(since: before, butWakeups: true), "\(before), now \(Leaks.now)")
  }

  /// One event after the other, each awaited.
  private func publish(through publisher: Publisher) async {
    while !isOver.value {
      let number = ledger.update { ledger in
        ledger.next += 1
        return ledger.next
      }
      do {
        try await publisher.publish(Note(number: number))
        ledger.update { ledger in
          ledger.confirmed.insert(number)
          ledger.lastConfirm = .now
        }
      } catch {
        let error = error as? PublishError ?? PublishError(.unknown("\(error)"), of: .init(type: Note.eventType))
        ledger.update { if let error { $0.failed[number] = error } }
      }
      // A thousand a second in all are load enough, and leave the broker room for what is done to it.
      try? await Task.sleep(for: .milliseconds(5))
    }
  }

  /// How long it takes until something that was published after now is confirmed and handled.
  func timeToResume(within timeout: Duration = .seconds(30)) async throws -> Duration {
    let start = ContinuousClock.now
    let first = ledger.value.next
    let resumed = await ledger.wait(timeout: timeout) { ledger in
      ledger.handled.contains { $0 > first && ledger.confirmed.contains($0) }
    }
    try #require(resumed != nil, "nothing was confirmed and handled again within \(timeout): \(rabbit.health)")
    return .now - start
  }
}
