import Warren
import WarrenSupport

/// How a reading opens to its prefetch, and what holds it up.
extension QueueReader {
  /// Lets the broker send as much as the prefetch says. The limit is the consumer's (RabbitMQ, "Consumer Prefetch"), so
  /// there must be another one.
  ///
  /// The first delivery is not acknowledged until the first consumer is gone: so the broker sends that one nothing more, which
  /// it would take back and count as a return.
  func openWindow() async {
    let (channel, old, new) = state.withLock { state in
      let old = state.tag
      let channel = state.isAccepting && !state.isLost ? state.channel : nil
      if channel != nil { state.tag = "warren-\(EventID())" }
      return (channel, old, state.tag)
    }
    guard let channel else { return }
    do throws(RabbitMQError) {
      try await connection.request(.cancel(tag: old), on: channel)
      state.withLock { $0.isOpening = false }
      flush()
      try await connection.request(.setPrefetch(pace.prefetch), on: channel)
      try await connection.request(.consume(queue: queue, tag: new), on: channel)
    } catch {
      state.withLock { $0.isOpening = false }
      end(error)
    }
  }

  /// Nothing more is sent to this reading.
  func stopFlow() async {
    if let channel = state.withLock({ $0.channel }) { await cancelConsumer(on: channel) }
  }

  /// Starts no handler while something that a failed event needs on the broker is refused to one of the runs.
  func hold(_ run: UInt64, _ error: RabbitMQError?) {
    let (isChanged, shown, woken) = state.withLock {
      state -> (Bool, RabbitMQError?, CheckedContinuation<Void, Never>?) in
      let wasHeld = !state.holds.isEmpty
      state.holds[run] = error
      return (wasHeld == state.holds.isEmpty, state.holds.first?.value, workerToWake(&state))
    }
    woken?.resume()
    if isChanged { tellHold(shown) }
  }

  // MARK: Keys whose delivery waits in place

  func waitsInPlace(_ key: String?) -> Bool {
    guard let key else { return true }
    return state.withLock { state in
      state.line.set(key, isStuck: true)
      return state.line.stuckCount <= max(1, pace.prefetch / 4)
    }
  }

  func goesOn(_ key: String?) {
    if let key { state.withLock { $0.line.set(key, isStuck: false) } }
  }
}
