package import Warren

#if canImport(FoundationEssentials)
  package import FoundationEssentials
#else
  package import Foundation
#endif

/// One message, ready to be written.
package struct PublishRequest: Sendable {
  package let exchange: String
  package let head: PublishHead
  package let body: Data
}

/// Messages that are published one behind the other, with one outcome each. Not for several tasks at once.
///
/// Suspends in `add` while more than the window are under way, so that a long sequence is never held in memory whole.
package final class PublishStream {
  private let channel: PublishingChannel
  private let chunk: Int
  private let batch = PublishBatch()
  private var waiting: [(index: Int, request: PublishRequest)] = []
  private let givesUp: Bool
  private var hasWaitedInVain = false
  private var hasGivenUp = false
  private var progress: (tally: PublishBatch.Tally, at: ContinuousClock.Instant)?

  /// With `givesUp`, what is left is not tried any more once the broker has answered nothing for the time of a deadline: a
  /// call with many windows' worth would wait that long for each of them.
  package init(channel: PublishingChannel, chunk: Int, givesUp: Bool) {
    self.channel = channel
    self.chunk = chunk
    self.givesUp = givesUp
  }

  package func add(_ request: PublishRequest) async {
    waiting.append((batch.reserve(), request))
    if waiting.count >= chunk { await flush() }
  }

  /// Takes the next place for something whose outcome is known without sending it.
  package func add(settled outcome: PublishOutcome) {
    batch.settled(batch.reserve(), outcome)
  }

  /// Hands over what waits, and returns when the window has room for more.
  package func flush() async {
    guard !waiting.isEmpty else { return }
    defer { waiting.removeAll(keepingCapacity: true) }
    if hasGivenUp {
      for (index, _) in waiting {
        batch.settled(
          index, .notPublished("not tried: the broker had answered nothing of this batch within the timeout"))
      }
      return
    }
    let progress = progress ?? (batch.tally, .now)
    let patience = channel.patience(hasWaitedInVain: hasWaitedInVain)
    hasWaitedInVain = await !channel.submit(waiting, to: batch, patience: patience)
    await batch.wait(untilPending: channel.window)
    let tally = batch.tally
    if tally.answered > progress.tally.answered {
      self.progress = (tally, .now)
    } else {
      self.progress = progress
      hasGivenUp =
        givesUp && !hasWaitedInVain && tally.unanswered > progress.tally.unanswered
        && .now - progress.at >= channel.timeout
    }
  }

  /// The outcomes at the head that are known, in order; each is given once.
  package func drain() -> [PublishOutcome] { batch.drain() }

  /// All outcomes that were not drained before, when none is pending any more.
  package func finish() async -> [PublishOutcome] {
    await flush()
    await batch.wait(untilPending: 0)
    return batch.drain()
  }
}
