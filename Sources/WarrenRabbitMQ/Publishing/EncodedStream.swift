import DequeModule
package import Warren

/// One pass over many events of a publisher: written in order, as many at once as the window allows, with one outcome each.
/// Not for several tasks at once.
package final class EncodedStream {
  /// So many are handed over at once: enough that the connection thread is not woken for each.
  private static let chunk = 64
  private let publisher: Publisher
  private let stream: PublishStream
  private var types = Deque<EventType>()
  private var hasWaitedInVain = false

  /// `isBatch`: all events are there already, and one call waits for their outcomes.
  init(_ publisher: Publisher, isBatch: Bool) {
    self.publisher = publisher
    stream = PublishStream(channel: publisher.channel, chunk: Self.chunk, isBatch: isBatch)
    publisher.channel.count(1)
  }

  deinit { publisher.channel.count(-1) }

  /// Suspends while the window is full.
  package func add(_ event: EncodedEvent) async {
    types.append(event.metadata.type)
    let patience = publisher.channel.patience(hasWaitedInVain: hasWaitedInVain)
    switch await publisher.prepare(event, within: patience) {
    case .failure(let refusal):
      if case .notPublished = refusal.outcome { hasWaitedInVain = true }
      stream.add(settled: refusal.outcome)
    case .success(let request): await stream.add(request)
    }
  }

  /// Hands over what waits for company.
  package func flush() async { await stream.flush() }

  /// The outcomes that are known, up to the first that is not; each is given once.
  package func drain() async -> [PublishOutcome] { await judged(stream.drain()) }

  /// All outcomes that were not drained, when none is pending any more.
  package func finish() async -> [PublishOutcome] { await judged(await stream.finish()) }

  private func judged(_ outcomes: [PublishOutcome]) async -> [PublishOutcome] {
    var judged: [PublishOutcome] = []
    judged.reserveCapacity(outcomes.count)
    for outcome in outcomes {
      guard let type = types.popFirst() else { break }
      judged.append(
        outcome.isConfirmed ? outcome : await publisher.judge(publisher.channel.explained(outcome), of: type))
    }
    return judged
  }
}
