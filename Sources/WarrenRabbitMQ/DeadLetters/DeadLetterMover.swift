import Warren

/// Publishes letters at their new place and acknowledges each when the broker has confirmed it there. For one task.
struct DeadLetterMover {
  /// So many refusals one behind the other are not the letters' fault.
  private static let mostRefusals = 20
  private struct Pending {
    var letter: DeadLetterScan.Letter
    var sameness: UInt128
    var isRepeat: Bool
  }

  private let scan: DeadLetterScan
  private let channel: PublishingChannel
  private let batch = PublishBatch()
  /// In the order in which they were published.
  private var pending: [Pending] = []
  var underWay: Int { pending.count }
  /// Of bodies under way.
  private(set) var bytes = 0
  private var refusals = 0
  private var failed: Set<UInt128> = []
  var report = DeadLetters.Report()

  init(_ scan: DeadLetterScan, to channel: PublishingChannel) {
    self.scan = scan
    self.channel = channel
  }

  mutating func add(_ letter: DeadLetterScan.Letter, _ sameness: UInt128, _ request: PublishRequest) {
    pending.append(Pending(letter: letter, sameness: sameness, isRepeat: false))
    bytes += letter.message.body.count
    channel.submit([(batch.reserve(), request)], to: batch)
  }

  /// The same as a letter that was added before: it is published with that one, or not at all.
  mutating func add(repeat letter: DeadLetterScan.Letter, _ sameness: UInt128) {
    pending.append(Pending(letter: letter, sameness: sameness, isRepeat: true))
    bytes += letter.message.body.count
    batch.settled(batch.reserve(), .confirmed)
  }

  /// It cannot be published.
  mutating func leave(_ letter: DeadLetterScan.Letter, _ sameness: UInt128, because problem: String) {
    scan.leave(letter)
    report.failed += 1
    report.problem = report.problem ?? problem
    failed.insert(sameness)
  }

  /// Returns when at most so many have no outcome yet.
  mutating func settle(untilPending limit: Int) async {
    await batch.wait(untilPending: limit)
    let outcomes = batch.drain()
    for (letter, outcome) in zip(pending, outcomes) { settle(letter, outcome) }
    pending.removeFirst(min(outcomes.count, pending.count))
  }

  private mutating func settle(_ letter: Pending, _ outcome: PublishOutcome) {
    bytes -= letter.letter.message.body.count
    switch channel.explained(outcome) {
    case .confirmed where letter.isRepeat && failed.contains(letter.sameness):
      scan.leave(letter.letter)
      report.failed += 1
    case .confirmed:
      scan.acknowledge(letter.letter)
      report.done += 1
      if letter.isRepeat { report.repeats += 1 } else { refusals = 0 }
    case .refused(let text):
      leave(letter.letter, letter.sameness, because: text)
      refusals += 1
      if refusals >= Self.mostRefusals || text.contains("ACCESS_REFUSED") { stop(.refused(text)) }
    case .unroutable(let text):
      leave(letter.letter, letter.sameness, because: text)
      stop(.refused("\(text): a subscriber declares it when it runs"))
    case .congested(let text), .notPublished(let text), .unknown(let text):
      leave(letter.letter, letter.sameness, because: text)
      stop(.later(text))
    }
  }

  private mutating func stop(_ reason: DeadLetters.Stop) { report.stopped = report.stopped ?? reason }
}
