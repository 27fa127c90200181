import Foundation
package import Warren
package import WarrenRabbitMQ
import WarrenSupport

/// A name that no other test and no earlier run uses: `t-<random>`.
package func unique(_ stem: String = "t") -> String {
  "\(stem)-\(UInt32.random(in: .min ... .max))\(UInt16.random(in: .min ... .max))"
}

/// What a test makes on the broker, deleted when it ends.
package final class Litter: Sendable {
  private let names = Lock<(queues: [String], exchanges: [String])>(([], []))

  package init() {}

  package func queue(_ name: String) { names.withLock { $0.queues.append(name) } }
  package func exchange(_ name: String) { names.withLock { $0.exchanges.append(name) } }

  /// A fresh event type, whose exchange is deleted.
  package func type(_ stem: String = "thing") throws -> EventType {
    let type = try EventType(unique(stem))
    exchange(EntityNames.exchange(of: type))
    return type
  }

  /// The queues of a service for a type.
  package func service(_ name: String, _ types: EventType...) throws {
    let owner = try QueueOwner(service: ServiceName(name))
    for type in types {
      queue(EntityNames.workQueue(of: owner, type: type))
      queue(EntityNames.deadLetterQueue(of: owner, type: type))
    }
  }

  package func clear(_ rabbit: RabbitMQ) async {
    let (queues, exchanges) = names.withLock { $0 }
    for queue in queues { _ = try? await rabbit.topology.perform(.deleteQueue(queue)) }
    for exchange in exchanges { _ = try? await rabbit.topology.perform(.deleteExchange(exchange)) }
  }
}

/// Runs `body` with a connected broker and cleans up after it.
package func withTestBroker<R: Sendable>(
  _ change: (inout RabbitMQConfiguration) -> Void = { _ in }, isolation: isolated (any Actor)? = #isolation,
  _ body: (RabbitMQ, Litter) async throws -> R
) async throws -> R {
  var configuration = try TestBroker.configuration
  change(&configuration)
  let litter = Litter()
  return try await withRabbitMQ(configuration) { rabbit in
    do {
      let result = try await body(rabbit, litter)
      await litter.clear(rabbit)
      return result
    } catch {
      await litter.clear(rabbit)
      throw error
    }
  }
}

extension RabbitMQ {
  /// Declares a queue of its own for a test: not durable exclusive, but deleted by the litter. `bound` are (exchange, key).
  package func testQueue(
    _ name: String, arguments: [String: HeaderValue] = ["x-queue-type": "quorum"], bound: [(String, String)] = [],
    litter: Litter
  ) async throws {
    try await topology.perform(
      .declareQueue(name, passive: false, durable: true, exclusive: false, autoDelete: false, arguments: arguments))
    litter.queue(name)
    for (exchange, key) in bound { try await topology.perform(.bind(queue: name, exchange: exchange, key: key)) }
  }

  /// How many messages are ready in a queue.
  package func depth(_ queue: String) async throws -> Int {
    let reply = try await topology.perform(
      .declareQueue(queue, passive: true, durable: true, exclusive: false, autoDelete: false, arguments: [:]))
    guard case .queue(_, let messages, _) = reply else { return -1 }
    return messages
  }

  /// Waits until a queue has so many ready messages; false when it has not within `timeout`.
  package func waitForDepth(_ queue: String, _ expected: Int, timeout: Duration = .seconds(10)) async throws -> Bool {
    try await eventually(timeout: timeout) { try await self.depth(queue) == expected }
  }
}

/// Asks until the answer is yes. For what the broker shows only when asked; everything else has something to wait on.
package func eventually(timeout: Duration = .seconds(10), _ condition: () async throws -> Bool) async throws -> Bool {
  let end = ContinuousClock.now + timeout
  while ContinuousClock.now < end {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(20))
  }
  return try await condition()
}

/// Runs a subscriber while `body` runs, ready before it begins.
package func withSubscriber<R: Sendable>(
  _ subscriber: Subscriber, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> R
) async throws -> R {
  let running = Task { try await subscriber.run() }
  do {
    try await subscriber.waitUntilReady(timeout: .seconds(20))
    let result = try await body()
    running.cancel()
    _ = await running.result
    return result
  } catch {
    running.cancel()
    if case .failure(let reason) = await running.result, !(reason is CancellationError) { throw reason }
    throw error
  }
}

/// Collects values from handlers, for a test to wait on.
package final class Collected<Value: Sendable>: Sendable {
  private let values = Watched<[Value]>([])
  package init() {}
  package func add(_ value: Value) { values.update { $0.append(value) } }
  package var all: [Value] { values.value }
  /// The values, when there are at least `count`; nil when there are not within `timeout`.
  package func wait(for count: Int, timeout: Duration = .seconds(10)) async -> [Value]? {
    await values.wait(timeout: timeout) { $0.count >= count }
  }
}
