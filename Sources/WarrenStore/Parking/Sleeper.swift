import WarrenSupport

/// A sleep that a change cuts short.
final class Sleeper: Sendable {
  private let state = Lock<(generation: Int, sleep: Task<Void, Never>?)>((0, nil))

  /// Grows with every change.
  var generation: Int { state.withLock { $0.generation } }

  func wake() {
    let sleep = state.withLock { state in
      state.generation += 1
      defer { state.sleep = nil }
      return state.sleep
    }
    sleep?.cancel()
  }

  /// Returns with the first change after `seen`, after the time, or when the task is cancelled. For one task at a time.
  func sleep(unlessChangedSince seen: Int, atMost time: Duration) async {
    let sleep = state.withLock { state -> Task<Void, Never>? in
      guard state.generation == seen else { return nil }
      let sleep = Task<Void, Never> { try? await Task.sleep(for: time) }
      state.sleep = sleep
      return sleep
    }
    guard let sleep else { return }
    await withTaskCancellationHandler {
      await sleep.value
    } onCancel: {
      sleep.cancel()
    }
  }
}
