import Foundation
import Warren
import WarrenSupport

@testable import WarrenStore

/// A publisher that answers as it is told and remembers what came.
final class FakeBroker: EncodedPublisher {
  typealias Answer = @Sendable (EncodedEvent) -> PublishOutcome
  private struct State {
    var answer: Answer
    var came: [EncodedEvent] = []
    var confirmed: [EncodedEvent] = []
    var underWay = 0
    var mostUnderWay = 0
  }
  private let state: Lock<State>
  private let delay: Duration?

  init(delay: Duration? = nil, _ answer: @escaping Answer = { _ in .confirmed }) {
    self.delay = delay
    state = Lock(State(answer: answer))
  }

  func answer(_ answer: @escaping Answer) { state.withLock { $0.answer = answer } }
  var came: [EncodedEvent] { state.withLock { $0.came } }
  var confirmed: [EncodedEvent] { state.withLock { $0.confirmed } }
  var confirmedCount: Int { state.withLock { $0.confirmed.count } }
  var mostUnderWay: Int { state.withLock { $0.mostUnderWay } }

  func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    state.withLock { state in
      state.underWay += events.count
      state.mostUnderWay = max(state.mostUnderWay, state.underWay)
    }
    if let delay { try? await Task.sleep(for: delay) }
    return state.withLock { state in
      state.underWay -= events.count
      return events.map { event in
        let outcome = state.answer(event)
        state.came.append(event)
        if outcome.isConfirmed { state.confirmed.append(event) }
        return outcome
      }
    }
  }
}

extension EncodedEvent {
  /// The number of a test event.
  var number: Int { (try? JSONDecoder().decode(Happened.self, from: body).number) ?? -1 }

  init(_ number: Int, type: EventType = "thing.happened", key: String? = nil) {
    var metadata = EventMetadata(type: type, source: "tests")
    metadata.key = key
    self.init(metadata: metadata, body: Data(#"{"number":\#(number)}"#.utf8))
  }
}

/// Runs a relay while `body` runs.
func withRelay<R>(
  _ log: EventLog, to broker: FakeBroker, options: Relay.Options = .init(),
  isolation: isolated (any Actor)? = #isolation,
  _ body: (Relay) async throws -> R
) async throws -> R {
  let relay = log.relay(to: broker, options: options)
  let running = Task { try await relay.run() }
  do {
    let result = try await body(relay)
    running.cancel()
    try await running.value
    return result
  } catch {
    running.cancel()
    _ = await running.result
    throw error
  }
}

/// Confirms everything and remembers only counts.
final class CountingBroker: EncodedPublisher {
  private struct State {
    var count = 0
    var last: [String: Int] = [:]
    var isInOrder = true
    var underWay = 0
    var mostUnderWay = 0
  }
  private let state = Lock(State())
  var count: Int { state.withLock { $0.count } }
  var isInOrder: Bool { state.withLock { $0.isInOrder } }
  var mostUnderWay: Int { state.withLock { $0.mostUnderWay } }

  func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    state.withLock { state in
      state.underWay += events.count
      state.mostUnderWay = max(state.mostUnderWay, state.underWay)
    }
    await Task.yield()
    return state.withLock { state in
      state.underWay -= events.count
      for event in events {
        state.count += 1
        let number = event.body.dropFirst(10).reduce(0) { (0x30...0x39).contains($1) ? $0 * 10 + Int($1 - 0x30) : $0 }
        if let key = event.metadata.key {
          if let last = state.last[key], last >= number { state.isInOrder = false }
          state.last[key] = number
        }
      }
      return events.map { _ in .confirmed }
    }
  }
}
