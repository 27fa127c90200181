/// An event of a run.
struct Entry: Hashable, Sendable, CustomStringConvertible {
  var key: Int
  var number: Int

  init(key: Int, number: Int) { (self.key, self.number) = (key, number) }
  init(_ line: Ledger.Line) { self.init(key: line.key, number: line.number) }

  var description: String { "\(key)/\(number)" }
}

/// What the ledgers and the effects say about one another.
struct Verdict {
  private let published: [Ledger.Line]
  private let handled: [Ledger.Line]
  private let effects: [Entry]
  /// What may be missing at the inbox (0) and at the subscription without a store (1).
  private var forgiven: [Set<Entry>] = [[], []]
  var problems: [String] = []

  init(published: [Ledger.Line], handled: [Ledger.Line], effects: [Entry]) {
    self.published = published
    self.handled = handled
    self.effects = effects
  }

  private var owed: [Ledger.Line] { published.filter { $0.word == .recorded || $0.word == .confirmed } }
  private var owedEntries: Set<Entry> { Set(owed.map(Entry.init)) }
  private var plain: Set<Entry> { Set(handled.filter { $0.word == .handled }.map(Entry.init)) }

  /// What was made before a subscription got something that was made after `moment` may be missing there.
  mutating func forgive(_ subscriptions: Set<Int>, since moment: Int64) {
    for subscription in subscriptions {
      let word: Ledger.Word = subscription == 0 ? .begun : .begunPlain
      let noticed = handled.filter { $0.word == word && $0.at > moment }.map(\.time).min() ?? .max
      forgiven[subscription] = Set(owed.filter { $0.at <= noticed }.map(Entry.init))
    }
  }

  private func missing(_ subscription: Int) -> Set<Entry> {
    owedEntries.subtracting(subscription == 0 ? Set(effects) : plain)
  }

  /// Nothing is missing that may not be.
  var isComplete: Bool { (0...1).allSatisfy { missing($0).isSubset(of: forgiven[$0]) } }

  mutating func judge() {
    func check(_ what: String, _ wrong: some Collection<Entry>) {
      guard let first = wrong.first else { return }
      problems.append("\(wrong.count) \(what), such as \(first)")
    }
    for (subscription, name) in [(0, "had no effect"), (1, "were not handled without a store")] {
      check("events that were recorded or confirmed \(name)", missing(subscription).subtracting(forgiven[subscription]))
    }
    let tried = Set(published.map(Entry.init))
    check("effects of events that nobody made", Set(effects).subtracting(tried))
    let refused = Set(published.filter { $0.word == .refused }.map(Entry.init))
    check("refused events had an effect", refused.intersection(effects))
    check("refused events were handled", refused.intersection(plain))
    check("events had more than one effect", Dictionary(grouping: effects) { $0 }.filter { $0.value.count > 1 }.keys)
    for (key, entries) in Dictionary(grouping: effects, by: \.key).sorted(by: { $0.key < $1.key }) {
      let numbers = entries.map(\.number)
      for (one, next) in zip(numbers, numbers.dropFirst()) where next <= one {
        problems.append("the effects of key \(key) are out of order: \(next) after \(one)")
        break
      }
    }
  }

  func outcome(_ cell: Cell, _ seed: UInt64) -> Outcome {
    func count(_ word: Ledger.Word) -> Int { published.count { $0.word == word } }
    return Outcome(
      fault: cell.fault, phase: cell.phase, seed: seed, problems: problems, recorded: count(.recorded),
      confirmed: count(.confirmed), refused: count(.refused), unknown: count(.unknown), effects: effects.count,
      handled: plain.count, repeats: handled.count { $0.word == .handled } - plain.count,
      gone: missing(0).count + missing(1).count)
  }
}
