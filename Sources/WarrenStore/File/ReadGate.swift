import WarrenSupport

/// Counts the readers of a log, and can keep new ones waiting for a moment.
final class ReadGate: Sendable {
  private struct State {
    var readers = 0
    var isClosed = false
    var waiting: [CheckedContinuation<Void, Never>] = []
    var onEmpty: CheckedContinuation<Void, Never>?
    var isPatienceOver = false
  }
  private let state = Lock(State())

  func read<R>(_ body: () async throws -> R) async rethrows -> R {
    await enter()
    defer { leave() }
    return try await body()
  }

  private func enter() async {
    while !state.withLock({ enterIfOpen(&$0) }) {
      await withCheckedContinuation { continuation in
        let isOpen = state.withLock { state in
          if state.isClosed { state.waiting.append(continuation) }
          return !state.isClosed
        }
        if isOpen { continuation.resume() }
      }
    }
  }

  /// False when nobody is to begin reading now. Who has entered leaves.
  func enterNow() -> Bool { state.withLock { enterIfOpen(&$0) } }

  private func enterIfOpen(_ state: inout State) -> Bool {
    if state.isClosed { return false }
    state.readers += 1
    return true
  }

  func leave() {
    let onEmpty = state.withLock { state -> CheckedContinuation<Void, Never>? in
      state.readers -= 1
      guard state.readers == 0 else { return nil }
      defer { state.onEmpty = nil }
      return state.onEmpty
    }
    onEmpty?.resume()
  }

  /// New readers wait until ``goOn()``. Returns when those that read have ended, or after `time`. One pause at a time.
  func pause(atMost time: Duration) async {
    state.withLock { state in
      state.isClosed = true
      state.isPatienceOver = false
    }
    let timer = Task {
      try? await Task.sleep(for: time)
      giveUp()
    }
    await withCheckedContinuation { continuation in
      let isOver = state.withLock { state in
        let isOver = state.readers == 0 || state.isPatienceOver
        if !isOver { state.onEmpty = continuation }
        return isOver
      }
      if isOver { continuation.resume() }
    }
    timer.cancel()
  }

  private func giveUp() {
    let onEmpty = state.withLock { state in
      state.isPatienceOver = true
      defer { state.onEmpty = nil }
      return state.onEmpty
    }
    onEmpty?.resume()
  }

  func goOn() {
    let waiting = state.withLock { state in
      state.isClosed = false
      defer { state.waiting = [] }
      return state.waiting
    }
    for one in waiting { one.resume() }
  }
}
