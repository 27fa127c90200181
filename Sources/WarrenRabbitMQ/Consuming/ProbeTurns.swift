import Warren
import WarrenSupport

/// Queues of one process begin to be read one after the other: what ends the process is found in the queue that was just
/// begun, and does not take along what waits in the others.
final class ProbeTurns: Sendable {
  /// Others begin after so long in any case.
  private static let patience = Duration.seconds(10)
  /// A queue that sends nothing for so long has nothing to find.
  private static let quiet = Duration.milliseconds(300)
  private let holder = Watched<Int?>(nil)
  private let lastNumber = Lock(0)

  /// Returns when it is this one's turn, or it has waited long enough.
  func begin() async -> Int {
    let number = lastNumber.withLock { last in
      last += 1
      return last
    }
    let end = ContinuousClock.now + Self.patience
    while ContinuousClock.now < end, !Task.isCancelled {
      let isMine = holder.update { holder in
        if holder == nil { holder = number }
        return holder == number
      }
      if isMine { break }
      _ = await holder.wait(timeout: end - .now) { $0 == nil }
    }
    return number
  }

  func end(_ number: Int) { holder.update { if $0 == number { $0 = nil } } }

  /// Ends the turn when the reading has got through, or there is nothing to read.
  func end(_ number: Int, after reader: QueueReader) async {
    var quietSince = ContinuousClock.now
    let end = quietSince + Self.patience
    while ContinuousClock.now < end, !reader.hasPassedProbe, !Task.isCancelled {
      if reader.openCount > 0 { quietSince = .now }
      if .now - quietSince >= Self.quiet { break }
      try? await Task.sleep(for: .milliseconds(5))
    }
    self.end(number)
  }
}
