import ArgumentParser
import Warren
import WarrenRabbitMQ

struct BenchPublish: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish", abstract: "Confirmed publishes into an empty queue that nobody reads.")

  @OptionGroup var options: BenchOptions

  @Option(help: "The most events that are written and not confirmed yet.")
  var window = 1000

  @Option(help: "Tasks that each await one publish after the other; 0: one task that publishes all as one sequence.")
  var callers = 0

  func validate() throws {
    if callers < 0 { throw ValidationError("--callers is \(callers): allowed is 0 or more") }
  }

  func run() async throws {
    try await reporting {
      var configuration = try options.broker.configuration(named: "bench")
      configuration.publishing.window = window
      try await withRabbitMQ(configuration) { rabbit in
        try await options.withQueue(rabbit) {
          let publisher = Publisher(rabbit, source: BenchOptions.service)
          // Declaring and opening the channel are not what is measured.
          try await publisher.publish(BenchEvent(id: 1, note: ""))
          let watch = Stopwatch()
          var latencies: [Double] = []
          if callers == 0 {
            try await publisher.publish(contentsOf: try options.events())
          } else {
            latencies = try await concurrently(publisher)
          }
          let (seconds, cpu) = watch.stop()
          try Measurement(
            bench: "publish", queue: options.queue, count: options.count, window: window, callers: callers,
            size: options.size, seconds: seconds, cpuMicroseconds: cpu, latencies: latencies
          ).emitLine()
        }
      }
      return .done
    }
  }

  private func concurrently(_ publisher: Publisher) async throws -> [Double] {
    let note = try BenchEvent.note(size: options.size, id: 1_000_000)
    let (count, callers) = (options.count, callers)
    return try await withThrowingTaskGroup(of: [Double].self) { group in
      for caller in 0..<callers {
        group.addTask {
          var latencies: [Double] = []
          for id in stride(from: caller, to: count, by: callers) {
            let start = ContinuousClock.now
            try await publisher.publish(BenchEvent(id: 1_000_000 + id, note: note))
            latencies.append((ContinuousClock.now - start) / .microseconds(1))
          }
          return latencies
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
  }
}
