import Foundation
import Warren
import WarrenRabbitMQ

/// Publishes and consumes for a while, connects and closes many times, and fails when the process holds more afterwards.
///
/// `Soak [CYCLES [CONNECTS]] [--sanitized]`; the broker is the one of RABBITMQ_URL. Under a sanitizer, which keeps freed
/// memory, only descriptors and threads are judged here, and the sanitizer judges the memory.
@main
struct Soak {
  static let service: ServiceName = "soak"
  static let limit = Duration.seconds(600)

  static func main() async {
    // Nothing here may hang for ever, whatever is broken.
    Task.detached {
      try await Task.sleep(for: limit)
      say("not done after \(limit)")
      exit(75)
    }
    do {
      let arguments = CommandLine.arguments.dropFirst()
      let numbers = arguments.filter { $0 != "--sanitized" }.map { Int($0) ?? 0 }
      guard numbers.count <= 2, numbers.allSatisfy({ $0 > 0 }) else {
        throw Problem("usage: Soak [CYCLES [CONNECTS]] [--sanitized]")
      }
      let url = ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://guest:guest@localhost:5672"
      let configuration = try RabbitMQConfiguration(url: url)
      let memory = !arguments.contains("--sanitized")
      let problems =
        try await cycles(numbers.first ?? 10_000, configuration, memory: memory)
        + connects(numbers.count > 1 ? numbers[1] : 200, configuration, memory: memory)
      for problem in problems { say("growth: \(problem)") }
      if !problems.isEmpty { exit(1) }
    } catch {
      say("\(error)")
      exit(70)
    }
  }

  static func say(_ text: String) { FileHandle.standardError.write(Data("\(text)\n".utf8)) }

  /// Publishes and handles `count` events over one pair of connections, after as many as it takes to warm up.
  static func cycles(_ count: Int, _ configuration: RabbitMQConfiguration, memory: Bool) async throws -> [String] {
    try await withRabbitMQ(configuration) { rabbit in
      try await withSubscriber(rabbit) { publisher, handled in
        var number = 0
        // Never more at once, so that what a large array leaves in the heap is no part of the growth.
        func run(until end: Int) async throws {
          while number < end {
            let chunk = number..<min(end, number + 500)
            try await publisher.publish(contentsOf: chunk.map { SoakEvent(number: $0) })
            number = chunk.upperBound
            await handled.wait(for: number)
          }
        }
        try await run(until: max(5000, count / 10))
        let warm = number
        let before = try Resources.now()
        print("after \(warm) cycles to warm up: \(before)")
        for tenth in 1...10 {
          try await run(until: warm + count * tenth / 10)
          print("after \(number - warm) cycles: \(try Resources.now())")
        }
        let after = try await Resources.settled(to: before)
        // A single object lost in each cycle would take 32 bytes or more.
        let allowance = Allowance(residentKB: 4096, heapBytes: 64 * 1024 + 16 * count)
        return allowance.exceeded(from: before, to: after, memory: memory).map { "in \(count) cycles \($0)" }
      }
    }
  }

  /// Connects, publishes and handles one event and closes, `count` times, after a warm-up of a fifth of that.
  static func connects(_ count: Int, _ configuration: RabbitMQConfiguration, memory: Bool) async throws -> [String] {
    func run() async throws {
      try await withRabbitMQ(configuration) { rabbit in
        try await withSubscriber(rabbit) { publisher, handled in
          try await publisher.publish(SoakEvent(number: 0))
          await handled.wait(for: 1)
        }
      }
    }
    let warmUp = max(5, count / 5)
    for _ in 0..<warmUp { try await run() }
    let before = try await Resources.settled()
    print("after \(warmUp) connects to warm up: \(before)")
    for i in 1...count {
      try await run()
      if i % max(1, count / 5) == 0 { print("after \(i) connects: \(try await Resources.settled(to: before))") }
    }
    let after = try await Resources.settled(to: before)
    let allowance = Allowance(residentKB: 4096, heapBytes: 40 * 1024 + 128 * count)
    return allowance.exceeded(from: before, to: after, memory: memory).map { "in \(count) connects \($0)" }
  }

  /// Runs `body` while a subscriber handles soak events and counts them.
  static func withSubscriber<R: Sendable>(
    _ rabbit: RabbitMQ, _ body: (Publisher, HandledCount) async throws -> R
  ) async throws -> R {
    let handled = HandledCount()
    let subscriber = Subscriber(rabbit, service: service) {
      On(SoakEvent.self) { _, _ in await handled.increment() }
    }
    let running = Task { try await subscriber.run() }
    defer { running.cancel() }
    try await subscriber.waitUntilReady()
    let result = try await body(Publisher(rabbit, source: service), handled)
    running.cancel()
    try await running.value
    return result
  }
}

struct SoakEvent: Event {
  static let eventType: EventType = "soak.cycle"
  var number: Int
  var text = String(repeating: "x", count: 100)
}
