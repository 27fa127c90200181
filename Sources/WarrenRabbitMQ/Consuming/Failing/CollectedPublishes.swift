import Logging
import Warren

extension FailedDeliveries {
  /// Publishes what a handler collected, in order, and again what the broker did not take. Their ids are derived, so a
  /// repeat is the same event. Nil when all are confirmed; `.some(nil)` when it was stopped before; else why it never can be.
  func publish(_ collected: [CollectedEvent]) async -> String?? {
    var rest = collected[...]
    var backoff = Backoff()
    while let first = rest.first {
      // A publisher that is no object is never identical, not even to itself.
      let run = [first] + rest.dropFirst().prefix { ($0.publisher as AnyObject) === (first.publisher as AnyObject) }
      let outcomes = await first.publisher.publish(encoded: run.map(\.event))
      var confirmed = 0
      for outcome in outcomes {
        if outcome.isConfirmed { confirmed += 1 } else { break }
      }
      rest = rest.dropFirst(confirmed)
      guard confirmed < run.count else { continue }
      switch confirmed < outcomes.count ? outcomes[confirmed] : .unknown("no outcome") {
      case .refused(let text), .unroutable(let text):
        return .some("\(rest[rest.startIndex].event.metadata.type): \(text)")
      case .confirmed, .congested, .notPublished, .unknown: break
      }
      if Task.isCancelled { return .some(nil) }
      logger.info(
        "what a handler published is not confirmed yet: trying again", metadata: ["queue": "\(queue)"])
      if await !backoff.wait() { return .some(nil) }
    }
    return nil
  }
}

/// 0.2 s, doubled up to 5 s.
struct Backoff {
  private var delay = Duration.milliseconds(200)

  /// False when the task was cancelled.
  mutating func wait() async -> Bool {
    defer { delay = min(delay * 2, .seconds(5)) }
    return (try? await Task.sleep(for: delay)) != nil
  }
}
