import Foundation
import Warren
import WarrenSupport

/// Readers that wait for the next commit, by this process or another one.
///
/// In process the commit itself wakes them. Commits of others are seen by asking every 25 ms, on a thread that lives only
/// while somebody waits.
final class CommitWaits: Sendable {
  private struct Waiter {
    var continuation: CheckedContinuation<Void, Never>
    var deadline: ContinuousClock.Instant
  }
  private struct State {
    var generation = 0
    var nextID = 0
    var waiters: [Int: Waiter] = [:]
    var cancelled: Set<Int> = []
    var isTicking = false
    /// Looks in a row for which nobody waited.
    var idle = 0
  }
  private static let interval = 0.025
  private let path: String
  private let state = Lock(State())

  init(path: String, wakeUp: WakeUp) {
    self.path = path
    _ = wakeUp.listen { [weak self] in self?.wake() }
  }

  /// Changes with every commit that was noticed.
  var generation: Int { state.withLock { $0.generation } }

  private func wake() {
    let waiters = state.withLock { state in
      state.generation += 1
      defer { state.waiters = [:] }
      return state.waiters
    }
    for waiter in waiters.values { waiter.continuation.resume() }
  }

  /// Returns behind the next commit after `generation`, after the time, or when the task is cancelled.
  func next(after generation: Int, atMost time: Duration) async {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let (isOver, startsTicking) = state.withLock { state -> (Bool, Bool) in
          if state.cancelled.remove(id) != nil || state.generation != generation { return (true, false) }
          state.waiters[id] = Waiter(continuation: continuation, deadline: .now + time)
          defer { state.isTicking = true }
          return (false, !state.isTicking)
        }
        if startsTicking { tick() }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      let waiter = state.withLock { state -> Waiter? in
        guard let waiter = state.waiters.removeValue(forKey: id) else {
          state.cancelled.insert(id)
          return nil
        }
        return waiter
      }
      waiter?.continuation.resume()
    }
    state.withLock { _ = $0.cancelled.remove(id) }
  }

  private func tick() {
    let thread = Thread { [weak self, path] in
      // Without it, waiting is until the deadline.
      let changes = try? FileChanges(path: path)
      _ = changes?.look()
      var isFirst = true
      while true {
        // A commit may have come before the file was watched.
        if !isFirst { Thread.sleep(forTimeInterval: Self.interval) }
        guard let self else { return }
        if isFirst || changes?.look() == true { self.wake() }
        isFirst = false
        self.endLate()
        let isOver = self.state.withLock { state in
          if state.waiters.isEmpty, state.idle > 40 {
            state.isTicking = false
            return true
          }
          state.idle = state.waiters.isEmpty ? state.idle + 1 : 0
          return false
        }
        if isOver { return }
      }
    }
    thread.name = "warren.readers"
    thread.stackSize = 256 << 10
    thread.start()
  }

  private func endLate() {
    let now = ContinuousClock.now
    let late = state.withLock { state in
      let late = state.waiters.filter { $0.value.deadline <= now }
      for id in late.keys { state.waiters[id] = nil }
      return late
    }
    for waiter in late.values { waiter.continuation.resume() }
  }
}
