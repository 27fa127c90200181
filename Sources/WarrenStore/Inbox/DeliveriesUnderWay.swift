import WarrenSupport

/// Lets one delivery of an event at a time through: after a reconnection the broker may send a second copy while the first is
/// still handled.
final class DeliveriesUnderWay: Sendable {
  private let waiters = Lock<[InboxKey: [CheckedContinuation<Void, Never>]]>([:])

  /// Returns when no other delivery of the event is under way. ``leave(_:)`` must follow.
  func enter(_ key: InboxKey) async {
    await withCheckedContinuation { continuation in
      let isFirst = waiters.withLock { waiters in
        if waiters[key] == nil {
          waiters[key] = []
          return true
        }
        waiters[key]?.append(continuation)
        return false
      }
      if isFirst { continuation.resume() }
    }
  }

  func leave(_ key: InboxKey) {
    let next = waiters.withLock { waiters -> CheckedContinuation<Void, Never>? in
      guard waiters[key]?.isEmpty == false else {
        waiters[key] = nil
        return nil
      }
      return waiters[key]?.removeFirst()
    }
    next?.resume()
  }
}
