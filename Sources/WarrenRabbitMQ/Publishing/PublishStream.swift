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
  private var hasWaitedInVain = false

  package init(channel: PublishingChannel, chunk: Int) {
    self.channel = channel
    self.chunk = chunk
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
    let patience = channel.patience(hasWaitedInVain: hasWaitedInVain)
    hasWaitedInVain = await !channel.submit(waiting, to: batch, patience: patience)
    waiting.removeAll(keepingCapacity: true)
    await batch.wait(untilPending: channel.window)
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
