import Warren
import WarrenSupport

/// What the engine says: deliveries, and the end of the reading.
extension QueueReader {
  func received(_ messages: [IncomingMessage]) {
    let returns = messages.map { $0.isRedelivered ? returned.foreignReturns(of: $0) : 0 }
    var left: [IncomingMessage] = []
    var isStopping = false
    let (unsorted, next, woken) = state.withLock {
      state -> ([DeliveryEntry], Next, CheckedContinuation<Void, Never>?) in
      var entries: [DeliveryEntry] = []
      let wasClosing = state.window.isClosing
      for (message, returns) in zip(messages, returns) {
        state.tracker.received()
        // A consumer that was cancelled may have been sent more before.
        guard state.isAccepting, !state.isLost else {
          left.append(message)
          continue
        }
        switch state.window.received(returns: returns) {
        case .handle: entries.append(DeliveryEntry(message: message))
        case .handleAndOpen:
          entries.append(DeliveryEntry(message: message))
          state.isOpeningDue = true
        case .bury: entries.append(DeliveryEntry(message: message, isCrashLoop: true))
        case .hold: state.held.append(message)
        }
      }
      // Keys are found elsewhere: that is the user's code.
      if arrivals == nil { for entry in entries { state.line.append(entry) } }
      isStopping = !wasClosing && state.window.isClosing
      // A worker is woken in any case, beside what follows.
      let woken = workerToWake(&state)
      return (arrivals == nil ? [] : entries, whatIsNext(&state), woken)
    }
    returned.add(left)
    if !unsorted.isEmpty { arrivals?.continuation.yield(unsorted) }
    woken?.resume()
    if isStopping { Task { await self.stopFlow() } }
    go(on: next)
  }

  func sort(_ entries: [DeliveryEntry]) {
    var entries = entries
    for index in entries.indices { entries[index].key = pace.order?(entries[index].message) }
    let woken = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.isAccepting, !state.isLost else { return nil }
      for entry in entries { state.line.append(entry) }
      return workerToWake(&state)
    }
    woken?.resume()
  }

  /// A delivery from a store: handled as if it had come over the channel. Returns what came of it.
  func handle(parked message: IncomingMessage, key: String?) async -> Settlement {
    await withCheckedContinuation { continuation in
      let parked = DeliveryEntry.Parked(key: key) { continuation.resume(returning: $0) }
      let entry = DeliveryEntry(message: message, parked: parked)
      let (isTaken, woken) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
        guard state.isAccepting, !state.isLost else { return (false, nil) }
        state.line.append(entry)
        return (true, workerToWake(&state))
      }
      woken?.resume()
      if !isTaken { continuation.resume(returning: .leave) }
    }
  }

  func consumerCancelled(tag: String) {
    end(
      RabbitMQError(
        .consumerCancelled,
        "the broker has ended the consumer of \"\(queue)\": the queue was deleted, or its node went down",
        isRetryable: true))
  }

  func channelClosed(_ error: RabbitMQError) { end(error) }

  /// A failure of the start is thrown there and not told a second time.
  func end(_ error: RabbitMQError) {
    let (isNews, dropped, runs) = state.withLock { state -> (Bool, [DeliveryEntry], [IncomingMessage]) in
      // What waits is back in the queue already, or gone with it.
      let dropped = state.line.removeAll()
      guard state.isAccepting, !state.isLost else { return (false, dropped, []) }
      state.failure = state.failure ?? error
      state.isLost = true
      // Inside the lock, or one that ends just now would be told as ended before it was told as begun. It resumes nobody.
      let entries = state.current.compactMap(\.entry) + state.overdue.values.map(\.entry)
      let runs = entries.filter { $0.parked == nil }.map(\.message)
      leftovers.began(runs, of: number)
      return (state.isStarted, dropped, runs)
    }
    returned.add(runs)
    giveBack(dropped)
    if isNews { onEnd(.lost(error)) }
  }

  /// Order cannot be kept otherwise: nothing more is begun, and the stop that follows returns everything.
  func giveUpOrder() {
    let idle = state.withLock { state in
      state.isAccepting = false
      defer { state.idle = [] }
      return state.idle
    }
    for worker in idle { worker.resume() }
    onEnd(.orderBlocked)
  }

  func tellHold(_ error: RabbitMQError?) { onHold(error) }
}

extension IncomingMessage {
  /// How often it has come back to its queue, as far as the broker counts that.
  var returns: Int {
    guard isRedelivered else { return 0 }
    let count = (try? MessageProperties(reading: properties))?.headers["x-delivery-count"]?.int
    return Int(clamping: count ?? 0)
  }
}
