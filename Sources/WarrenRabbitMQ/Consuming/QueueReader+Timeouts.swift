import WarrenSupport

/// A handler that took too long. Its worker's place was given to another one; what it returns after all is heard here.
final class OverdueRun: Sendable {
  let entry: DeliveryEntry
  let returned = Watched<QueueReader.Settlement?>(nil)
  init(_ entry: DeliveryEntry) { self.entry = entry }
}

/// How handlers are stopped that take longer than they may: long before the broker does that, which would close the channel
/// under all of them (RabbitMQ, "Delivery Acknowledgement Timeout", 30 minutes).
extension QueueReader {
  /// How often deadlines are looked at.
  private static var tick: Duration { .milliseconds(100) }
  /// How long a cancelled handler may take to end.
  static var patience: Duration { .seconds(5) }

  func set(deadline: ContinuousClock.Instant?, _ worker: Int, _ run: UInt64) {
    let isDue = state.withLock { state in
      guard state.current[worker].run == run else { return false }
      state.current[worker].deadline = deadline
      guard deadline != nil, !state.isTicking else { return false }
      state.isTicking = true
      return true
    }
    if isDue { scheduleLook() }
  }

  private func scheduleLook() {
    _ = Timers.shared.schedule(after: Self.tick) { [weak self] in self?.lookAtDeadlines() }
  }

  private func lookAtDeadlines() {
    let now = ContinuousClock.now
    let isOn = state.withLock { state in
      for worker in state.current.indices {
        guard let deadline = state.current[worker].deadline, deadline <= now else { continue }
        replace(worker, &state)
      }
      state.isTicking = state.running > 0
      return state.isTicking
    }
    if isOn { scheduleLook() }
  }

  private func replace(_ worker: Int, _ state: inout State) {
    let run = state.current[worker].run
    guard let entry = state.current[worker].entry else { return }
    let overdue = OverdueRun(entry)
    state.overdue[run] = overdue
    state.current[worker] = Worker()
    let old = state.workers[worker]
    state.workers[worker] = Task { await self.work(worker) }
    state.takeovers[run] = Task { await self.takeOver(overdue, run, from: old, worker) }
  }

  private func takeOver(_ overdue: OverdueRun, _ run: UInt64, from old: Task<Void, Never>, _ worker: Int) async {
    old.cancel()
    let returned = await overdue.returned.wait(timeout: Self.patience) { $0 != nil }
    var settlement = Settlement.leave
    if let returned, let returned { settlement = returned }
    // It succeeded in the last moment, or its event is safe elsewhere.
    if case .leave = settlement {
      let stages = DeliveryStages(
        reader: self, worker: worker, run: run, key: overdue.entry.key,
        overdue: returned == nil ? .abandoned : .ended)
      settlement = await process(overdue.entry.message, stages)
    }
    settle(overdue.entry, settlement, nil, run)
  }
}
