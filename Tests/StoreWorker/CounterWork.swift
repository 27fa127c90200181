import Foundation
import GRDB
import Warren
import WarrenStore

/// A counter that cannot fall below zero.
struct Counter: SnapshottingDecider {
  enum Command: Sendable { case add(Int) }
  struct Event: Warren.Event {
    static let eventType: EventType = "counter.added"
    var amount: Int
  }
  enum Refusal: Error { case belowZero }
  static let category = "counter"
  static let snapshotEvery = 7

  var sum = 0
  var events = 0

  func decide(_ command: Command) throws(Refusal) -> [Event] {
    guard case .add(let amount) = command, sum + amount >= 0 else { throw .belowZero }
    // Several events now and then, so that a half decision would show.
    return amount % 3 == 0 ? [Event(amount: amount - 1), Event(amount: 1)] : [Event(amount: amount)]
  }

  mutating func evolve(_ event: Event) {
    sum += event.amount
    events += 1
  }
}

/// The sums as a table.
struct Sums: Projection {
  let name: String
  let version = 1
  let eventTypes = [Counter.Event.eventType]

  func create(_ context: ProjectionContext) throws {
    try context.db.execute(
      sql: "CREATE TABLE \(context.table(name)) (stream TEXT PRIMARY KEY, sum INTEGER, events INTEGER, version INTEGER)"
    )
  }

  func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
    let amount = try event.decoded(as: Counter.Event.self).amount
    try context.db.execute(
      sql: """
        INSERT INTO \(context.table(name)) VALUES (?1, ?2, 1, ?3)
        ON CONFLICT DO UPDATE SET sum = sum + ?2, events = events + 1, version = ?3
        """, arguments: [event.stream.name, amount, event.version])
  }
}

/// Commands to counters that other processes command too, with a projection inside the appends and one behind them.
enum CounterWork {
  static func run(_ file: String, count: Int, seed: UInt64) async throws {
    var random = SplitMix(seed: seed)
    let log = try EventLog(path: file, source: "worker")
    try await log.add(inline: Sums(name: "inside"))
    let behind = Sums(name: "behind")
    let projector = log.projector(behind)
    let projecting = Task { try await projector.run() }
    var last = LogPosition(rawValue: 0)
    for number in 0..<count {
      let id = "\(Int.random(in: 0..<3, using: &random))"
      let amount = Int.random(in: -6...9, using: &random)
      do {
        let done = try await log.run(Counter.self, id, .add(amount), request: "\(seed)-\(number)", attempts: 1000)
        last = max(last, done.position)
        print(last)
        fflush(nil)
      } catch is Counter.Refusal {}
    }
    try await log.wait(for: behind, reached: last, timeout: .seconds(60))
    projecting.cancel()
    try await projecting.value
  }
}
