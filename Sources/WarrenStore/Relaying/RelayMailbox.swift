import Warren
import WarrenSupport

/// What the relay's loop hears: outcomes of publishes, and that there may be something to do. Calls to look again are one,
/// however many there were; none is lost.
final class RelayMailbox: Sendable {
  struct News: Sendable {
    var outcomes: [(session: Int, position: Int64, outcome: PublishOutcome)] = []
    var hasCall = false
    var isStopping = false
  }
  private struct State {
    var news = News()
    var waiter: CheckedContinuation<Void, Never>?
    var isEmpty: Bool { news.outcomes.isEmpty && !news.hasCall }
  }
  private let state = Lock(State())

  private func change(_ change: (inout State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      guard !state.isEmpty else { return nil as CheckedContinuation<Void, Never>? }
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  func call() { change { $0.news.hasCall = true } }

  /// `session` tells outcomes of a session that has ended from those that the present one waits for.
  func settled(_ positions: [Int64], _ outcomes: [PublishOutcome], session: Int) {
    change { state in
      for (index, position) in positions.enumerated() {
        let outcome = index < outcomes.count ? outcomes[index] : .unknown("the publisher gave no outcome")
        state.news.outcomes.append((session, position, outcome))
      }
    }
  }

  /// From now on every look says so.
  func stop() {
    change { state in
      state.news.isStopping = true
      state.news.hasCall = true
    }
  }

  var isStopping: Bool { state.withLock { $0.news.isStopping } }

  /// What has come, at least one thing.
  func next() async -> News {
    await withCheckedContinuation { continuation in
      let isDue = state.withLock { state in
        if state.isEmpty { state.waiter = continuation }
        return !state.isEmpty
      }
      if isDue { continuation.resume() }
    }
    return state.withLock { state in
      defer { state.news = News(isStopping: state.news.isStopping) }
      return state.news
    }
  }
}
