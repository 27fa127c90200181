import GRDB
import Warren
import WarrenSupport

/// One caller's part of a group commit.
final class Member: Sendable {
  enum Work: Sendable {
    /// Entries that were checked before: writing them cannot fail for their own fault.
    case entries([EventRow])
    /// An append to streams: refused, if at all, before it has written anything.
    case append(PreparedAppend)
    /// A body of the user's own.
    case body(Turn)
  }
  private struct State {
    enum Phase { case waiting, running, settled }
    var phase = Phase.waiting
    var result: Result<Int64, StoreError>?
    var userError: (any Error)?
    var continuation: CheckedContinuation<Void, Never>?
  }
  let work: Work
  let deadline: ContinuousClock.Instant
  private let state = Lock(State())

  init(_ work: Work, deadline: ContinuousClock.Instant) {
    self.work = work
    self.deadline = deadline
  }

  /// The first position of the entries; 0 for a body.
  /// - Throws: ``StoreError``, or what the body threw.
  func result() async throws -> Int64 {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isSettled = state.withLock { state in
          if state.phase != .settled { state.continuation = continuation }
          return state.phase == .settled
        }
        if isSettled { continuation.resume() }
      }
    } onCancel: {
      giveUp(.cancelled, "the task was cancelled")
    }
    let (result, userError) = state.withLock { ($0.result, $0.userError) }
    if let userError { throw userError }
    guard let result else { throw StoreError(.database, "a commit ended without a result") }
    return try result.get()
  }

  /// Takes it into a group; false when its caller has given up.
  func begin() -> Bool {
    state.withLock { state in
      guard state.phase == .waiting else { return false }
      state.phase = .running
      return true
    }
  }

  func settle(_ result: Result<Int64, any Error>) {
    let continuation = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.phase != .settled else { return nil }
      state.phase = .settled
      switch result {
      case .success(let position): state.result = .success(position)
      case .failure(let error as StoreError): state.result = .failure(error)
      case .failure(let error): state.userError = error
      }
      defer { state.continuation = nil }
      return state.continuation
    }
    // A member whose caller has gone in the meantime ends its task all the same.
    if case .body(let turn) = work { turn.end() }
    continuation?.resume()
  }

  /// The caller does not wait any longer: a member that has not begun is taken out, one that has may be committed.
  func giveUp(_ code: StoreError.Code, _ reason: String) {
    let (wasWaiting, continuation) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
      guard state.phase != .settled else { return (false, nil) }
      let wasWaiting = state.phase == .waiting
      state.phase = .settled
      state.result = .failure(
        wasWaiting
          ? StoreError(code, "\(reason) before the commit began: nothing was recorded", isRetryable: true)
          : StoreError(
            code, "\(reason) while the commit was under way: it may have been recorded", isRetryable: true,
            mayHaveBeenRecorded: true))
      defer { state.continuation = nil }
      return (wasWaiting, state.continuation)
    }
    if wasWaiting, case .body(let turn) = work { turn.end() }
    continuation?.resume()
  }
}
