import Warren
import WarrenSupport

/// A value that tasks can wait on: each waiter has a condition and a deadline.
package final class Watched<Value: Sendable>: Sendable {
  private struct Waiter {
    var check: (Value) -> Bool
    var resume: (Value?) -> Void
    var timer: TimerEntry?
  }
  private struct State {
    var value: Value
    var waiters: [Int: Waiter] = [:]
    var nextID = 0
  }
  private let state: Lock<State>

  package init(_ value: Value) { state = Lock(State(value: value)) }

  package var value: Value { state.withLock { $0.value } }

  @discardableResult
  package func update<R>(_ change: (inout Value) -> R) -> R {
    let (result, ready, value) = state.withLock { state -> (R, [Waiter], Value) in
      let result = change(&state.value)
      guard !state.waiters.isEmpty else { return (result, [], state.value) }
      let ready = state.waiters.filter { $0.value.check(state.value) }
      for id in ready.keys { state.waiters[id] = nil }
      return (result, Array(ready.values), state.value)
    }
    for waiter in ready {
      waiter.timer?.cancel()
      waiter.resume(value)
    }
    return result
  }

  /// The value once it satisfies `condition`; nil when `timeout` passes or the task is cancelled first.
  package func wait(timeout: Duration? = nil, until condition: @escaping @Sendable (Value) -> Bool) async -> Value? {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Value?, Never>) in
        let early = state.withLock { state -> Value? in
          if condition(state.value) { return state.value }
          state.waiters[id] = Waiter(check: condition, resume: { continuation.resume(returning: $0) })
          return nil
        }
        if let early { return continuation.resume(returning: early) }
        if Task.isCancelled { return giveUp(id) }
        guard let timeout else { return }
        let timer = Timers.shared.schedule(after: timeout) { [weak self] in self?.giveUp(id) }
        let isLate = state.withLock { state in
          state.waiters[id]?.timer = timer
          return state.waiters[id] == nil
        }
        if isLate { timer.cancel() }
      }
    } onCancel: {
      giveUp(id)
    }
  }

  private func giveUp(_ id: Int) {
    let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
    waiter?.timer?.cancel()
    waiter?.resume(nil)
  }
}
