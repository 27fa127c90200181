import Testing

@testable import WarrenRabbitMQ

/// A publishing channel against a broker that routes, returns, nacks, confirms in any order and closes the channel on a
/// bad publish, with everything in flight in between.
@Suite struct PublishQueueSimulationTests {
  @Test func everyPublishHasOneOutcomeAndTheRightOne() async {
    var random = ReplayableRandom()
    var closes = 0
    var refusals = 0
    for _ in 0..<1500 {
      await Task.yield()
      var simulation = Simulation(&random)
      if let problem = simulation.run(&random) {
        Issue.record("\(problem). \(random.replay)")
        return
      }
      closes += simulation.closes
      refusals += simulation.outcomes.values.count { $0 == .refused }
    }
    // The runs are worth something only when channels do close, with and without company.
    #expect(closes > 500 && refusals > 500, random.replay)
  }
}

private struct Item: Hashable {
  enum Fate: Hashable {
    case routed, returned, nacked
    /// The broker closes the channel and names the exchange.
    case missingExchange
    /// The broker closes the channel and says only that something is wrong.
    case bad
  }
  var id: Int
  var size: Int
  var fate: Fate
}

private enum Outcome: Equatable {
  case confirmed, returned, nacked, refused, gaveUp, lost
}

/// What the broker has sent and the client has not read yet.
private enum Event {
  case settled(UInt64, multiple: Bool, accepted: Bool)
  case returned(UInt64)
  case closed(isNamed: Bool)
}

private struct Simulation {
  private let windowCount: Int
  private let windowBytes: Int
  private var queue: PublishQueue<Item>
  private var fresh: [Item]

  // The broker's side of the channel.
  private var inFlight: [(tag: UInt64, item: Item)] = []
  private var isDead = false
  private var unconfirmed: [(tag: UInt64, isAccepted: Bool)] = []
  private var events: [Event] = []
  private var accepted: [Int] = []

  // The client's view, kept without the queue's help.
  private var submitted: [Item] = []
  private var onTheWire: [Item] = []
  private var firstWrites: [Int] = []
  private var suspects: Set<Int>?
  private(set) var outcomes: [Int: Outcome] = [:]
  private(set) var closes = 0
  private var problem: String?

  init(_ random: inout ReplayableRandom) {
    windowCount = random.pick([1, 2, 3, 8, 20])
    windowBytes = random.pick([1, 30, 100, 1000])
    queue = PublishQueue(maximumCount: windowCount, maximumBytes: windowBytes)
    let badness = random.int(2...30)
    fresh = []
    for id in 1...random.int(1...60) {
      let fate: Item.Fate =
        random.oneIn(badness)
        ? random.pick([.missingExchange, .bad]) : random.pick([.routed, .routed, .routed, .returned, .nacked])
      fresh.append(Item(id: id, size: random.int(0...40), fate: fate))
    }
    fresh.reverse()
  }

  /// Returns what went wrong.
  mutating func run(_ random: inout ReplayableRandom) -> String? {
    let losesConnection = random.oneIn(8)
    let isImpatient = random.oneIn(3)
    var steps = 0
    while problem == nil {
      steps += 1
      if steps > 20_000 { return "it does not come to an end" }
      if fresh.isEmpty, queue.isIdle, events.isEmpty { break }
      switch random.int(0...11) {
      case 0, 1: submit(&random)
      case 2, 3, 4: write(upTo: random.oneIn(2) ? random.int(1...3) : windowCount + 1)
      case 5, 6: brokerReads(upTo: random.int(1...8))
      case 7, 8: brokerConfirms(&random)
      case 9, 10: clientReads(upTo: random.int(1...8))
      default:
        if isImpatient, random.oneIn(10) { giveUp(&random) }
        if losesConnection, random.oneIn(40) {
          loseConnection()
          return problem ?? verdict(wasLost: true)
        }
      }
    }
    return problem ?? verdict(wasLost: false)
  }

  private mutating func fail(_ text: String) { problem = problem ?? text }

  private mutating func end(_ item: Item, _ outcome: Outcome) {
    switch outcomes[item.id] {
    case nil: outcomes[item.id] = outcome
    case .gaveUp: break
    case let earlier?: fail("\(item) ended as \(earlier) and again as \(outcome)")
    }
    suspects?.remove(item.id)
  }

  // MARK: The client

  private mutating func submit(_ random: inout ReplayableRandom) {
    var items: [Item] = []
    for _ in 0..<random.int(1...6) { if let item = fresh.popLast() { items.append(item) } }
    submitted += items
    queue.append(items)
  }

  private mutating func write(upTo limit: Int) {
    var dropped: [Item] = []
    for _ in 0..<limit {
      let next = queue.next(
        size: { $0.size },
        isWanted: { item in
          if outcomes[item.id] == nil { return true }
          dropped.append(item)
          return false
        })
      for item in dropped { suspects?.remove(item.id) }
      dropped = []
      guard let (item, tag) = next else { return }
      if onTheWire.contains(item) { fail("\(item) is in the window twice") }
      if outcomes[item.id] != nil { fail("\(item) was written after its end") }
      onTheWire.append(item)
      let bytes = onTheWire.reduce(0) { $0 + $1.size }
      if onTheWire.count > 1, onTheWire.count > windowCount || bytes > windowBytes {
        fail("the window holds \(onTheWire.count) items with \(bytes) bytes")
      }
      if let suspects, !suspects.isEmpty, onTheWire.count > 1 {
        fail("\(onTheWire) are written together, although the culprit is not known")
      }
      if firstWrites.last.map({ $0 < item.id }) ?? true { firstWrites.append(item.id) }
      if !firstWrites.contains(item.id) { fail("\(item) was first written after a later one") }
      inFlight.append((tag, item))
    }
  }

  private mutating func clientReads(upTo limit: Int) {
    for _ in 0..<limit {
      if events.isEmpty { return }
      switch events.removeFirst() {
      case .returned(let tag): queue.markReturned(tag, reason: "no queue")
      case .settled(let tag, let multiple, let accepted):
        var settled: [(Item, Outcome)] = []
        queue.settle(tag, multiple: multiple, accepted: accepted) { item, verdict in
          switch verdict {
          case .acked: settled.append((item, .confirmed))
          case .nacked: settled.append((item, .nacked))
          case .returned: settled.append((item, .returned))
          }
        }
        for (item, outcome) in settled {
          if !onTheWire.contains(item) { fail("\(item) was settled and not on the wire") }
          onTheWire.removeAll { $0 == item }
          end(item, outcome)
        }
      case .closed(let isNamed):
        closes += 1
        let blamed = queue.channelClosed(isBlamed: isNamed ? { $0.fate == .missingExchange } : nil)
        for item in blamed {
          if !onTheWire.contains(item) { fail("\(item) is blamed and was not on the wire") }
          end(item, .refused)
        }
        if !isNamed {
          if blamed.isEmpty {
            if onTheWire.count < 2 { fail("\(onTheWire) closed the channel and nobody is blamed") }
            suspects = Set(onTheWire.map(\.id))
          } else {
            suspects = nil
          }
        } else if blamed.isEmpty {
          fail("the exchange is named and nobody is blamed")
        }
        onTheWire = []
        // Opened again: what was in flight is thrown away, tags begin at 1.
        inFlight = []
        isDead = false
      }
    }
  }

  private mutating func giveUp(_ random: inout ReplayableRandom) {
    let open = submitted.filter { outcomes[$0.id] == nil }
    if let item = open.randomElement(using: &random) { outcomes[item.id] = .gaveUp }
  }

  private mutating func loseConnection() {
    let writtenOnce = Set(firstWrites)
    let (written, unwritten) = queue.connectionLost()
    for item in written {
      if !writtenOnce.contains(item.id) { fail("\(item) counts as written") }
      end(item, .lost)
    }
    for item in unwritten {
      if writtenOnce.contains(item.id) { fail("\(item) counts as unwritten") }
      end(item, .lost)
    }
    if !queue.isIdle { fail("the queue is not idle after the end of the connection") }
  }

  // MARK: The broker

  private mutating func brokerReads(upTo limit: Int) {
    for _ in 0..<limit {
      if isDead || inFlight.isEmpty { return }
      let (tag, item) = inFlight.removeFirst()
      switch item.fate {
      case .missingExchange, .bad:
        isDead = true
        // What was accepted and not confirmed stays without a confirm.
        unconfirmed = []
        events.append(.closed(isNamed: item.fate == .missingExchange))
      case .returned:
        events.append(.returned(tag))
        unconfirmed.append((tag, true))
      case .routed, .nacked:
        unconfirmed.append((tag, item.fate == .routed))
        if !accepted.contains(item.id) { accepted.append(item.id) }
      }
    }
  }

  private mutating func brokerConfirms(_ random: inout ReplayableRandom) {
    guard !isDead, let (tag, isAccepted) = unconfirmed.randomElement(using: &random) else { return }
    let upToTag = unconfirmed.filter { $0.tag <= tag }
    if random.oneIn(2), upToTag.allSatisfy({ $0.isAccepted == isAccepted }) {
      unconfirmed.removeAll { $0.tag <= tag }
      events.append(.settled(tag, multiple: true, accepted: isAccepted))
    } else {
      unconfirmed.removeAll { $0.tag == tag }
      events.append(.settled(tag, multiple: false, accepted: isAccepted))
    }
  }

  // MARK: The end

  private func verdict(wasLost: Bool) -> String? {
    for item in submitted {
      guard let outcome = outcomes[item.id] else { return "\(item) has no outcome" }
      let expected: Outcome =
        switch item.fate {
        case .routed: .confirmed
        case .returned: .returned
        case .nacked: .nacked
        case .missingExchange, .bad: .refused
        }
      if outcome == expected || outcome == .gaveUp || (wasLost && outcome == .lost) { continue }
      return "\(item) ended as \(outcome)"
    }
    if firstWrites != firstWrites.sorted() { return "first written in the order \(firstWrites)" }
    if accepted != accepted.sorted() { return "first accepted by the broker in the order \(accepted)" }
    let culprits = submitted.count { $0.fate == .bad || $0.fate == .missingExchange }
    // Once in company, once alone.
    if closes > 2 * culprits { return "\(closes) channels were closed for \(culprits) culprits" }
    return nil
  }
}
