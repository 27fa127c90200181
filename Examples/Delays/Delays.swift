import ArgumentParser
import FlightEvents
import Foundation
import Logging
import ServiceLifecycle
import UnixSignals
import Warren
import WarrenRabbitMQ

/// Consumes the airline's events and prints how late each airline was.
@main
struct Delays: AsyncParsableCommand {
  @Option(help: "Only the events of this run are counted.")
  var run: String

  @Option(help: "The flights that were published, to compare with.")
  var file = "Examples/Data/flights.jsonl"

  @Option(help: "Give up after so many seconds.")
  var timeout = 120

  func run() async throws {
    var expected = DelayTable()
    for event in try FlightRecords.events(in: URL(fileURLWithPath: file)) { expected.add(event) }
    let url = ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://guest:guest@localhost"
    let rabbit = try RabbitMQ(RabbitMQConfiguration(url: url))
    let board = DepartureBoard(expecting: expected.flights)

    let subscriber = Subscriber(rabbit, service: "delays") {
      On(FlightEvent.self) { event, context in
        guard context.metadata.headers["run"]?.string == run else { return context.ignore("it is of another run") }
        await board.add(event, id: context.metadata.id)
      }
    }
    let group = ServiceGroup(
      services: [rabbit, subscriber], gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "delays"))

    let services = Task { try await group.run() }
    let time = Task { [timeout] in
      try await Task.sleep(for: .seconds(timeout))
      await board.giveUp()
    }
    // A signal ends the services; then there is nothing to wait for.
    let watching = Task {
      _ = await services.result
      await board.giveUp()
    }
    try await subscriber.waitUntilReady()
    FileHandle.standardError.write(Data("ready\n".utf8))
    await board.waitUntilComplete()
    time.cancel()
    await group.triggerGracefulShutdown()
    try await services.value
    await watching.value

    let result = await board.table
    print(result.text(eventsPerSecond: await board.rate))
    if result == expected {
      print("nothing is missing: \(result.flights) flights, as published; \(await board.repeats) repeats")
    } else {
      print("a count is off: \(result.flights) of \(expected.flights) flights came, or an airline's numbers differ")
      throw ExitCode.failure
    }
  }
}
