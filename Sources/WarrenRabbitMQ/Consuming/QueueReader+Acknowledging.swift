import WarrenSupport

/// What the broker is told about deliveries, and when: several at once, and soon.
extension QueueReader {
  func settle(_ deliveryTag: UInt64, _ settlement: Settlement, _ state: inout State) {
    switch settlement {
    case .leave, .parkAgain: break
    case .reject:
      if state.tracker.settle(deliveryTag) { tell([.reject(deliveryTag, requeue: false)], &state) }
    case .acknowledge:
      guard state.tracker.finish(deliveryTag) else { return }
      state.sinceHead += 1
      // Told when the window is open.
      if state.isOpeningDue || state.isOpening { return }
      if state.tracker.finishedCount >= max(1, pace.prefetch / 4) {
        // Behind a slow handler; the broker would soon have nothing more that it may send.
        tell(state.tracker.flush(), &state)
      } else if state.sinceHead >= max(1, pace.prefetch / 10) {
        state.sinceHead = 0
        if let head = state.tracker.flushHead() { tell([head], &state) }
      }
      guard state.tracker.finishedCount > 0 else { return }
      // One at a time: the broker waits for it.
      if state.window.isProbing { return tell(state.tracker.flush(), &state) }
      if !state.isTimed {
        state.isTimed = true
        _ = Timers.shared.schedule(after: .milliseconds(20)) { [weak self] in self?.flush() }
      }
    }
  }

  func flush() {
    state.withLock { state in
      state.isTimed = false
      tell(state.tracker.flush(), &state)
    }
  }

  /// Inside the lock up to the mailbox, which keeps the acknowledgements in order and never blocks.
  private func tell(_ acknowledgements: [Acknowledgement], _ state: inout State) {
    if let channel = state.channel, !acknowledgements.isEmpty {
      connection.submit(.acknowledge(channel, acknowledgements))
    }
  }
}
