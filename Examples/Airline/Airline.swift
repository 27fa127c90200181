import ArgumentParser
import FlightEvents
import Foundation
import Warren
import WarrenRabbitMQ

/// Publishes what happened to a few thousand flights, each event confirmed by the broker.
@main
struct Airline: AsyncParsableCommand {
  @Option(help: "The flights, one JSON object a line.")
  var file = "Examples/Data/flights.jsonl"

  @Option(help: "Marks the events of this run, so that a worker can tell them from an earlier one's.")
  var run: String

  func run() async throws {
    let events = try FlightRecords.events(in: URL(fileURLWithPath: file))
    let url = ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://guest:guest@localhost"

    try await withRabbitMQ(RabbitMQConfiguration(url: url)) { rabbit in
      let publisher = Publisher(rabbit, source: "airline")
      let started = ContinuousClock.now
      let receipts = try await publisher.publish(contentsOf: events) { event in
        // What happens to one aircraft is in order.
        PublishOptions(key: event.flight.tail, headers: ["run": .string(run)])
      }
      let seconds = (ContinuousClock.now - started) / .seconds(1)
      print("airline: \(receipts.count) events confirmed, \(Int(Double(receipts.count) / seconds)) per second")
    }
  }
}
