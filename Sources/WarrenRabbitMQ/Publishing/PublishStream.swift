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
  /// Nil when the head has it.
  package let body: Data?
}

/// Messages that are published one behind the other, with one outcome each. Not for several tasks at once.
///
/// Suspends in `add` while more than the window are under way, so that a long sequence is never held in memory whole.
package final class PublishStream {
  private let channel: PublishingChannel
  private let chunk: Int
  private let batch = PublishBatch()
  private var waiting: [(index: Int, request: PublishRequest)] = []
  private let isBatch: Bool
  private var hasGivenUp = false
  private var progress: (tally: PublishBatch.Tally, at: ContinuousClock.Instant)?

  /// When the broker has answered nothing for the time of a deadline, what follows is not tried any more: a call with many
  /// windows' worth would wait that long for each of them. A batch gives up for good; a stream tries again with the next
  /// connection.
  package init(channel: PublishingChannel, chunk: Int, isBatch: Bool) {
    self.channel = channel
    self.chunk = chunk
    self.isBatch = isBatch
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
    if hasGivenUp, !isBatch, channel.isConnected { (hasGivenUp, progress) = (false, nil) }
    if hasGivenUp {
      let outcome = channel.explained(
        .notPublished("not tried: the broker had answered nothing within \(channel.timeout)"))
      for (index, _) in waiting { batch.settled(index, outcome) }
      return
    }
    let progress = progress ?? (batch.tally, .now)
    channel.submit(waiting, to: batch)
    await batch.wait(untilPending: channel.window)
    let tally = batch.tally
    if tally.answered > progress.tally.answered {
      self.progress = (tally, .now)
    } else {
      self.progress = progress
      let isInVain = tally.unanswered > progress.tally.unanswered && .now - progress.at >= channel.timeout
      hasGivenUp = isInVain && (isBatch || !channel.isConnected)
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
