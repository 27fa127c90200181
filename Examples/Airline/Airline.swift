import ArgumentParser
import FlightEvents
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Records what happened to a few thousand flights, together with how far it has come, and delivers it. It may be killed at
/// any moment and started again.
@main
struct Airline: AsyncParsableCommand {
  @Option(help: "The flights, one JSON object a line.")
  var file = "Examples/Data/flights.jsonl"

  @Option(help: "Marks the events of this run, so that a worker can tell them from an earlier one's.")
  var run: String

  @Option(help: "The airline's database.")
  var store: String

  @Option(help: "Record nothing behind this many flights, and wait: for somebody who wants to kill it in the middle.")
  var waitAt: Int?

  private static let flightsAtOnce = 50

  func run() async throws {
    let events = try FlightRecords.events(in: URL(fileURLWithPath: file))
    let url = ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://guest:guest@localhost"
    let log = try EventLog(path: store, source: "airline")
    let begun = try await log.transact { db in
      try db.execute(sql: "CREATE TABLE IF NOT EXISTS progress (flights INTEGER)")
      return try Int.fetchOne(db, sql: "SELECT flights FROM progress") ?? 0
    }
    if begun > 0 { say("airline: going on behind flight \(begun)") }

    try await withRabbitMQ(RabbitMQConfiguration(url: url)) { rabbit in
      let relay = log.relay(to: rabbit)
      let relaying = Task { try await relay.run() }
      let end = min(events.count, waitAt ?? events.count)
      for start in stride(from: begun, to: end, by: Self.flightsAtOnce) {
        let flights = events[start..<min(end, start + Self.flightsAtOnce)]
        // Both are in the file, or neither is.
        try await log.transact { db in
          for event in flights {
            // What happens to one aircraft is in order.
            let options = PublishOptions(key: event.flight.tail, headers: ["run": .string(run)])
            try log.record(event, options: options, in: db)
          }
          try db.execute(sql: "DELETE FROM progress")
          try db.execute(sql: "INSERT INTO progress VALUES (?)", arguments: [flights.endIndex])
        }
      }
      if let waitAt, waitAt < events.count {
        say("airline: \(end) of \(events.count) flights are recorded")
        try await Task.sleep(for: .seconds(600))
      }
      while try await !isDelivered(log) { try await Task.sleep(for: .milliseconds(20)) }
      relaying.cancel()
      try await relaying.value
      say("airline: \(events.count) events recorded and delivered")
    }
  }

  private func isDelivered(_ log: EventLog) async throws -> Bool {
    let status = try await log.status()
    return status.checkpoint == status.head && status.held.isEmpty
  }

  /// At once, although the process may be killed.
  private func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
