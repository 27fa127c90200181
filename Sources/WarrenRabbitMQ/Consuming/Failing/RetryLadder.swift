import Warren

/// The delays that a service's events can wait for in queues of the broker, and which one serves a wanted delay.
struct RetryLadder: Sendable {
  private let rungs: [Duration]

  /// At least one, each from 100 ms to 1 day in whole milliseconds.
  init(_ delays: [Duration]) { rungs = Array(Set(delays)).sorted() }

  /// The shortest rung that is at least as long; the longest when none is. With jitter it or the next longer one.
  func rung(for delay: Duration, jitter: Bool = false) -> Duration {
    var index = rungs.firstIndex { $0 >= delay } ?? rungs.count - 1
    if jitter, index + 1 < rungs.count, Bool.random() { index += 1 }
    return rungs[index]
  }

  /// What is not allowed about these delays; nil when they can be used.
  static func problem(with delays: [Duration]) -> String? {
    guard (1...20).contains(delays.count) else { return "has \(delays.count) delays: allowed are 1 to 20" }
    for delay in delays {
      let isWhole = delay.components.attoseconds.isMultiple(of: 1_000_000_000_000_000)
      guard delay >= .milliseconds(100), delay <= .seconds(86_400), isWhole else {
        return "has a delay of \(delay): allowed is 100 ms to 1 day, in whole milliseconds"
      }
    }
    return nil
  }
}
