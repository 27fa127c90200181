package import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// One event on its way to the broker: written or not, settled once by whoever comes first: the confirm, the deadline, the
/// caller's cancellation, or the end of the connection.
///
/// Unchecked, because a class over another one cannot be checked: what changes is in `state` with a lock of its own, but for
/// `number`, which belongs to the lock of the channel.
package final class PublishOperation: TimerEntry, @unchecked Sendable {
  package let exchange: String
  package let head: PublishHead
  /// Nil when the head has it.
  package let body: Data?
  /// Its place among all of its channel. Belongs to the channel's lock.
  var number: UInt64 = 0
  private let timeout: Duration
  private let completion: Completion

  package enum Completion {
    case awaited
    case batch(PublishBatch, index: Int)
  }

  private struct State {
    var isWritten = false
    var isRepaired = false
    var isInDoubt = false
    var outcome: PublishOutcome?
    var waiter: CheckedContinuation<PublishOutcome, Never>?
  }
  private let state = InlineLock(State())

  /// `spent` is how much of the timeout is over already. Nil for one of many whose deadlines are set together.
  package init(_ request: PublishRequest, timeout: Duration, spent: Duration? = .zero, completion: Completion) {
    exchange = request.exchange
    head = request.head
    body = request.body
    self.timeout = timeout
    self.completion = completion
    super.init()
    if let spent { Timers.shared.schedule(self, after: timeout - spent) }
  }

  /// What it counts for in the window.
  package var size: Int { head.bytes.count + (body?.count ?? 0) }

  /// The engine is about to write it (again). False when nobody waits for it any more: it must not be written.
  package func claim() -> Bool {
    state.withLock { state in
      guard state.outcome == nil else { return false }
      state.isWritten = true
      return true
    }
  }

  package func settle(_ outcome: PublishOutcome) {
    settle { _ in outcome }
  }

  /// It was written, and its confirm was lost: it may be in queues already, whatever is said when it is written again.
  func becomesDoubtful() { state.withLock { $0.isInDoubt = true } }

  /// What the broker says about the last time that it was written: a no says nothing about an earlier one.
  func settleLastWrite(_ outcome: PublishOutcome) {
    let isInDoubt = state.withLock { $0.isInDoubt }
    switch outcome {
    case .unroutable(let text) where isInDoubt, .refused(let text) where isInDoubt,
      .congested(let text) where isInDoubt:
      settle(.unknown("written, but its confirm was lost; written again: \(text)"))
    case .confirmed, .unroutable, .refused, .congested, .notPublished, .unknown: settle(outcome)
    }
  }

  var isSettled: Bool { state.withLock { $0.outcome != nil } }

  /// True once: its missing exchange may be declared for it, and it may be written again.
  func claimRepair() -> Bool {
    state.withLock { state in
      defer { state.isRepaired = true }
      return state.outcome == nil && !state.isRepaired
    }
  }

  private func settle(_ outcome: (_ isWritten: Bool) -> PublishOutcome) {
    let settled = state.withLock { state -> (PublishOutcome, CheckedContinuation<PublishOutcome, Never>?)? in
      guard state.outcome == nil else { return nil }
      let outcome = outcome(state.isWritten)
      state.outcome = outcome
      defer { state.waiter = nil }
      return (outcome, state.waiter)
    }
    guard let (outcome, waiter) = settled else { return }
    cancel()
    switch completion {
    case .awaited: waiter?.resume(returning: outcome)
    case .batch(let batch, let index): batch.settled(index, outcome)
    }
  }

  /// The deadline has passed.
  package override func fire() {
    settle { isWritten in
      isWritten
        ? .unknown("written, but not confirmed within \(timeout): the broker may be busy, blocked or unreachable")
        : .notPublished("not written within \(timeout): the connection is blocked, not open or too slow")
    }
  }

  /// The connection has ended, or the caller has.
  package func abandon(because reason: String) {
    settle { $0 ? .unknown("written, but not confirmed: \(reason)") : .notPublished("not written: \(reason)") }
  }

  /// Waits for the outcome of an operation made with `.awaited`.
  package func outcome() async -> PublishOutcome {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let early = state.withLock { state -> PublishOutcome? in
          if state.outcome == nil { state.waiter = continuation }
          return state.outcome
        }
        if let early { continuation.resume(returning: early) }
      }
    } onCancel: {
      abandon(because: "the task was cancelled")
    }
  }
}
