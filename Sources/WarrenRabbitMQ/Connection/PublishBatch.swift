import DequeModule
package import Warren
import WarrenSupport

/// The outcomes of many publishes, and a bound on how many of them are under way.
package final class PublishBatch: Sendable {
  private struct State {
    var places = Deque<Place>()
    /// The index of the first place that was not drained yet.
    var first = 0
    var pending = 0
    var tally = Tally()
    var waiter: (limit: Int, continuation: CheckedContinuation<Void, Never>)?
    var isCancelled = false
  }
  private enum Place {
    case reserved
    case open(PublishOperation)
    case settled(PublishOutcome)
  }
  private let state = InlineLock(State())

  /// How many of the events the broker has answered for, and how many ended without its answer.
  package struct Tally: Sendable {
    package var answered = 0
    package var unanswered = 0
  }

  package init() {}

  /// Reserves the next place, in order.
  package func reserve() -> Int {
    state.withLock { state in
      state.places.append(.reserved)
      state.pending += 1
      return state.first + state.places.count - 1
    }
  }

  package func settled(_ index: Int, _ outcome: PublishOutcome) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard index >= state.first else { return nil }
      if case .settled = state.places[index - state.first] { return nil }
      state.places[index - state.first] = .settled(outcome)
      state.pending -= 1
      switch outcome {
      case .confirmed, .unroutable, .refused, .congested: state.tally.answered += 1
      case .notPublished, .unknown: state.tally.unanswered += 1
      }
      guard let waiter = state.waiter, state.pending <= waiter.limit else { return nil }
      state.waiter = nil
      return waiter.continuation
    }
    waiter?.resume()
  }

  package var tally: Tally { state.withLock { $0.tally } }

  /// Remembers operations so that cancelling the caller reaches them. To be called before they are submitted.
  package func track(_ operations: [(index: Int, operation: PublishOperation)]) {
    let isCancelled = state.withLock { state in
      for (index, operation) in operations where index >= state.first {
        if case .reserved = state.places[index - state.first] { state.places[index - state.first] = .open(operation) }
      }
      return state.isCancelled
    }
    if isCancelled { for (_, operation) in operations { operation.abandon(because: "the task was cancelled") } }
  }

  /// Returns when at most `limit` are under way. One caller at a time.
  package func wait(untilPending limit: Int) async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let ready = state.withLock { state in
          guard state.pending > limit else { return true }
          state.waiter = (limit, continuation)
          return false
        }
        if ready { continuation.resume() }
      }
    } onCancel: {
      let open = state.withLock { state in
        state.isCancelled = true
        return state.places.compactMap { if case .open(let operation) = $0 { operation } else { nil } }
      }
      for operation in open { operation.abandon(because: "the task was cancelled") }
    }
  }

  /// The outcomes that are known and have none before them that is not; each is given once.
  package func drain() -> [PublishOutcome] {
    state.withLock { state in
      var known: [PublishOutcome] = []
      while case .settled(let outcome)? = state.places.first {
        known.append(outcome)
        state.places.removeFirst()
        state.first += 1
      }
      return known
    }
  }
}
