/// Decides how far to read a queue whose messages are not taken out. A consumer without acknowledgements gets its prefetch and
/// no more, and what has to stay in the queue fills it up. Then the page is turned: its consumer keeps what it has, and another
/// one gets what comes behind.
struct DeadLetterPages {
  enum Step: Equatable {
    /// More comes by itself.
    case wait
    /// Nothing comes before letters that are under way are settled.
    case settle
    /// Begin the next page, for so many letters.
    case turn(Int)
    /// As many were looked at as there were when it began.
    case end
  }

  /// AMQP has two bytes for a prefetch.
  static let largest = 65_535
  /// The most letters of a page with bodies, and about the most bytes of them, by what the letters before had.
  private static let most = 8192
  private static let mostBytes = 64 << 20
  private let expected: Int
  private let first: Int
  /// Of the current page.
  private(set) var size: Int
  private var taken = 0
  private var takenBytes = 0
  private var underWay = 0
  /// Of the current page, not acknowledged.
  private var held = 0

  /// - Parameters:
  ///   - expected: how many are in the queue. Those that come behind them are not looked at, or a replay of what fails at
  ///     once would never end.
  ///   - first: the size of the first page. The next ones grow.
  init(expected: Int, first: Int) {
    self.expected = expected
    self.first = min(max(first, 1), Self.largest)
    size = self.first
  }

  var isUnderWay: Bool { underWay > 0 }
  var isComplete: Bool { taken >= expected }

  /// A letter has come, with so many bytes of body.
  mutating func take(bytes: Int) {
    taken += 1
    takenBytes += bytes
    underWay += 1
    held += 1
  }

  /// It stays in the queue.
  mutating func leave() { underWay -= 1 }

  /// It is out of the queue, and the broker sends one more for it.
  mutating func acknowledge() {
    underWay -= 1
    held -= 1
  }

  /// When nothing that has come waits.
  mutating func next() -> Step {
    if isComplete { return underWay > 0 ? .settle : .end }
    guard held >= size else { return .wait }
    if underWay > 0 { return .settle }
    held = 0
    let average = max(takenBytes / max(taken, 1), 1)
    size = max(first, min(size * 2, Self.most, Self.mostBytes / average))
    return .turn(size)
  }
}
