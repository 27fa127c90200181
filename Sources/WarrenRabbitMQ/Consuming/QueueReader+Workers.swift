import WarrenSupport

/// The workers of a reading: as many as its concurrency, each with one delivery at a time. What a change of what waits and runs
/// leads to is decided in one place, inside the lock, and done outside.
extension QueueReader {
  func work(_ worker: Int) async {
    // Handlers of a lost channel still count.
    await leftovers.waitForRoom(worker: worker, of: pace.concurrency)
    while let (entry, run) = await next(worker) {
      let settlement: Settlement
      if let known = await leftovers.settlement(of: entry.message, to: number) {
        settlement = known
      } else {
        let stages = DeliveryStages(
          reader: self, worker: worker, run: run, key: entry.parked?.key ?? entry.key,
          isCrashLoop: entry.isCrashLoop, isParked: entry.parked != nil)
        settlement = await process(entry.message, stages)
      }
      // Somebody else has taken this worker's place.
      guard settle(entry, settlement, worker, run) else { return }
    }
  }

  /// The next delivery; nil when no more are to be started. Counts it as running before the lock is released, so that a stop
  /// cannot miss it.
  private func next(_ worker: Int) async -> (DeliveryEntry, UInt64)? {
    var wasWoken = false
    while true {
      let (step, woken) = state.withLock { state -> (Step, CheckedContinuation<Void, Never>?) in
        if wasWoken { state.isWaking = false }
        guard state.isAccepting else { return (.end, nil) }
        guard state.mayBegin, let entry = state.line.next() else { return (.wait, nil) }
        state.running += 1
        state.lastRun += 1
        state.current[worker] = Worker(run: state.lastRun, entry: entry)
        return (.handle(entry, state.lastRun), workerToWake(&state))
      }
      woken?.resume()
      switch step {
      case .handle(let entry, let run): return (entry, run)
      case .end: return nil
      case .wait: break
      }
      await withCheckedContinuation { continuation in
        let isDue = state.withLock { state in
          if !state.isAccepting || state.mayBegin && !state.line.isEmpty { return true }
          state.idle.append(continuation)
          return false
        }
        wasWoken = !isDue
        if isDue { continuation.resume() }
      }
    }
  }

  private enum Step {
    case handle(DeliveryEntry, UInt64)
    case wait
    case end
  }

  func workerToWake(_ state: inout State) -> CheckedContinuation<Void, Never>? {
    guard !state.isWaking, state.mayBegin, !state.line.isEmpty, let worker = state.idle.popLast() else {
      return nil
    }
    state.isWaking = true
    return worker
  }

  /// - Parameter worker: who was at it; nil for an overdue run, which nobody is at.
  /// - Returns: false when the worker was given up meanwhile, and what it says is for the one who did.
  @discardableResult
  func settle(_ entry: DeliveryEntry, _ settlement: Settlement, _ worker: Int?, _ run: UInt64) -> Bool {
    let deliveryTag = entry.message.deliveryTag
    let isFromStore = entry.parked != nil
    let (isGivenUp, overdue, isLost, left, next) = state.withLock { state -> (Bool, OverdueRun?, Bool, Int?, Next) in
      if let worker {
        guard state.current[worker].run == run else { return (true, state.overdue[run], false, nil, .nothing) }
        state.current[worker] = Worker()
      } else {
        state.overdue[run] = nil
        state.takeovers[run] = nil
      }
      state.running -= 1
      state.lastProgress = .now
      if !state.isLost, !isFromStore { settle(deliveryTag, settlement, &state) }
      state.line.finished(key: entry.key)
      return (false, nil, state.isLost, state.isAccepting ? nil : state.running, whatIsNext(&state))
    }
    guard !isGivenUp else {
      overdue?.returned.update { $0 = settlement }
      return false
    }
    entry.parked?.completion(settlement)
    if isLost, !isFromStore { leftovers.ended(deliveryTag, of: number, settlement) }
    if let left { stillRunning.update { $0 = min($0, left) } }
    go(on: next)
    return true
  }

  /// What follows from a change of what waits and what runs.
  enum Next {
    case nothing
    case wake(CheckedContinuation<Void, Never>)
    case open
    case over
  }

  func whatIsNext(_ state: inout State) -> Next {
    guard state.isAccepting, !state.isLost else { return .nothing }
    if state.window.isClosing, state.running == 0, state.line.isEmpty {
      guard state.window.mayHandle(held: state.held.count) else { return .over }
      for message in state.held { state.line.append(DeliveryEntry(message: message)) }
      state.held = []
    }
    if state.isOpeningDue {
      state.isOpeningDue = false
      state.isOpening = true
      return .open
    }
    return workerToWake(&state).map(Next.wake) ?? .nothing
  }

  func go(on next: Next) {
    switch next {
    case .nothing: break
    case .wake(let worker): worker.resume()
    case .open: Task { await self.openWindow() }
    case .over: onEnd(.suspicious)
    }
  }
}
