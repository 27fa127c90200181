import ArgumentParser
import Logging
import Synchronization
import Warren
import WarrenRabbitMQ

struct BenchConsume: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "consume", abstract: "Typed handling of a full queue, acknowledged after the handler.")

  @OptionGroup var options: BenchOptions

  @Option(help: "The prefetch.")
  var window = 500

  @Option(help: "The most handlers at once.")
  var callers = 16

  func run() async throws {
    try await reporting {
      let configuration = try options.broker.configuration(named: "bench")
      try await withRabbitMQ(configuration) { rabbit in
        try await options.withQueue(rabbit) {
          try await Publisher(rabbit, source: BenchOptions.service).publish(contentsOf: try options.events())
          try await consume(rabbit)
        }
      }
      return .done
    }
  }

  private func consume(_ rabbit: RabbitMQ) async throws {
    let count = options.count
    let handled = Atomic<Int>(0)
    let isDone = Watched(false)
    var subscriberOptions = Subscriber.Options()
    subscriberOptions.prefetch = window
    subscriberOptions.concurrency = min(callers, window)
    let queue = options.handlerOptions
    let subscriber = Subscriber(rabbit, service: BenchOptions.service, options: subscriberOptions) {
      On(BenchEvent.self, queue: queue) { event, _ in
        precondition(event.id >= 0)
        if handled.add(1, ordering: .relaxed).newValue == count { isDone.update { $0 = true } }
      }
    }
    let watch = Stopwatch()
    let running = Task { try await subscriber.run() }
    _ = await isDone.wait(timeout: .seconds(300)) { $0 }
    let (seconds, cpu) = watch.stop()
    subscriber.stop()
    try await running.value
    try Measurement(
      bench: "consume", queue: options.queue, count: handled.load(ordering: .relaxed), window: window, callers: callers,
      size: options.size, seconds: seconds, cpuMicroseconds: cpu
    ).emitLine()
  }
}
