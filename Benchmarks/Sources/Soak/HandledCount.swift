/// Counts handled events, and lets one task wait for a number of them.
actor HandledCount {
  private var count = 0
  private var waiting: (target: Int, continuation: CheckedContinuation<Void, Never>)?

  func increment() {
    count += 1
    guard let waiting, count >= waiting.target else { return }
    self.waiting = nil
    waiting.continuation.resume()
  }

  /// Returns when `target` events have been handled. Has no deadline of its own: the program has one.
  func wait(for target: Int) async {
    if count >= target { return }
    await withCheckedContinuation { waiting = (target, $0) }
  }
}
