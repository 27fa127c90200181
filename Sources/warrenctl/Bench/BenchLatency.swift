import ArgumentParser
import Logging
import Warren
import WarrenRabbitMQ
import WarrenSupport

struct BenchLatency: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latency", abstract: "From the call of publish to the handler, at a fixed rate.")

  @OptionGroup var options: BenchOptions

  @Option(help: "Events per second.")
  var rate = 1000

  func validate() throws {
    if rate < 1 || rate > 1_000_000 { throw ValidationError("--rate is \(rate): allowed is 1 to 1000000") }
  }

  func run() async throws {
    try await reporting {
      let configuration = try options.broker.configuration(named: "bench")
      try await withRabbitMQ(configuration) { rabbit in
        try await options.withQueue(rabbit) { try await measure(rabbit) }
      }
      return .done
    }
  }

  private func measure(_ rabbit: RabbitMQ) async throws {
    let count = options.count
    let sent = Lock([ContinuousClock.Instant?](repeating: nil, count: count))
    let latencies = Watched<[Double]>([])
    let queue = options.handlerOptions
    let subscriber = Subscriber(rabbit, service: BenchOptions.service) {
      On(BenchEvent.self, queue: queue) { event, _ in
        let now = ContinuousClock.now
        guard let start = sent.withLock({ $0[event.id] }) else { return }
        latencies.update { $0.append((now - start) / .microseconds(1)) }
      }
    }
    let running = Task { try await subscriber.run() }
    try await subscriber.waitUntilReady()
    let publisher = Publisher(rabbit, source: BenchOptions.service)
    let note = try BenchEvent.note(size: options.size, id: count)
    let watch = Stopwatch()
    let start = ContinuousClock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for id in 0..<count {
        try await Task.sleep(until: start + .seconds(1) / rate * id, tolerance: .zero)
        group.addTask {
          sent.withLock { $0[id] = .now }
          try await publisher.publish(BenchEvent(id: id, note: note))
        }
      }
      try await group.waitForAll()
    }
    let all = await latencies.wait(timeout: .seconds(30)) { $0.count >= count } ?? latencies.value
    let (seconds, cpu) = watch.stop()
    subscriber.stop()
    try await running.value
    try Measurement(
      bench: "latency", queue: options.queue, count: all.count, window: 1000, size: options.size, seconds: seconds,
      cpuMicroseconds: cpu, latencies: all
    ).emitLine()
  }
}
