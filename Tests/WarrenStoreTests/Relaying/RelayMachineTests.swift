import Testing

@testable import WarrenStore

/// The relay's decisions against a simple model of file and broker, with random outcomes and crashes.
struct RelayMachineTests {
  /// What a file and a broker would know.
  struct World {
    var entries: [(position: Int64, lane: Lane)] = []
    var checkpoint: Int64 = 0
    var held: [Int64: RelayCommit.Held] = [:]
    var confirmed: Set<Int64> = []
    var order: [Int64] = []
    var underWay: Set<Int64> = []
    var now: Int64 = 0
    var rows = 0
    var lanes: [Int64: Lane] = [:]

    var head: Int64 { entries.last?.position ?? 0 }
    func lane(_ position: Int64) -> Lane? { lanes[position] }

    mutating func record(_ position: Int64, _ lane: Lane) {
      entries.append((position, lane))
      lanes[position] = lane
    }

    func machine() -> RelayMachine {
      var lanes: [Lane: (HoldReason, Int, Int64?)] = [:]
      for (_, row) in held.sorted(by: { $0.key < $1.key }) {
        if row.lane.key == nil, row.reason == .refused { continue }
        if let known = lanes[row.lane] {
          lanes[row.lane] = (known.0, known.1 + 1, known.2)
        } else {
          lanes[row.lane] = (row.reason, 1, row.reason == .refused ? nil : now)
        }
      }
      return RelayMachine(
        checkpoint: checkpoint, held: lanes.map { ($0.key, $0.value.0, $0.value.1, $0.value.2) })
    }

    func page(after: Int64, limit: Int) -> ([RelayMachine.Entry], Int64) {
      let rest = entries.filter { $0.position > after }
      let page = rest.prefix(limit).map {
        RelayMachine.Entry(position: $0.position, lane: $0.lane, size: 10, isAside: held[$0.position] != nil)
      }
      return (page, page.count < rest.count ? page.last?.position ?? after : head)
    }

    mutating func write(_ commit: RelayCommit) {
      #expect(commit.from == checkpoint)
      #expect(commit.to >= commit.from)
      for row in commit.held {
        #expect(held[row.position] == nil)
        held[row.position] = row
      }
      for change in commit.changed {
        held[change.position]?.reason = change.reason
        held[change.position]?.text = change.text
      }
      for position in commit.released { held[position] = nil }
      checkpoint = commit.to
      rows += commit.rows
      for entry in entries where entry.position <= commit.to && entry.position > commit.from {
        let isSafe = confirmed.contains(entry.position) || held[entry.position] != nil
        if !isSafe { Issue.record("\(entry) was passed") }
      }
      for position in commit.released where !confirmed.contains(position) { Issue.record("\(position) was let go") }
    }
  }

  @Test func randomOutcomesAndCrashesAgreeWithTheModel() {
    var random = SeededGenerator()
    for round in 0..<60 {
      var world = World()
      var machine = world.machine()
      let exchanges = ["a", "b", "c"]
      var trouble = true
      var quietRounds = 0
      var steps = 0
      while steps < 5000 {
        steps += 1
        world.now += Int64(random.int(0...(trouble ? 300 : 2000)))
        if steps == 150 { trouble = false }
        // Something is recorded.
        if trouble, random.oneIn(2) {
          var position = world.head
          for _ in 0..<random.int(1...8) {
            position += Int64(random.int(1...3))
            let key = random.oneIn(3) ? nil : "k\(random.int(0...3))"
            world.record(position, Lane(exchange: random.pick(exchanges), key: key))
          }
        }
        if machine.wantsPage, machine.readThrough < world.head {
          let (page, through) = world.page(after: machine.readThrough, limit: random.int(1...10))
          machine.read(page, through: through, now: world.now)
        }
        if machine.isCommitDue(now: world.now) || random.oneIn(4), let commit = machine.takeCommit() {
          world.write(commit)
        }
        while let (lane, limit) = machine.nextLoad(now: world.now) {
          if let commit = machine.takeCommit() { world.write(commit) }
          let rows = world.held.filter { $0.value.lane == lane && !(lane.key == nil && $0.value.reason == .refused) }
          let page = rows.keys.sorted().prefix(limit).map {
            RelayMachine.Entry(position: $0, lane: lane, size: 10)
          }
          machine.load(lane, page, now: world.now)
        }
        for position in machine.nextToSend(limit: random.int(1...6), now: world.now) {
          let lane = world.lane(position)
          if lane?.isOrdered == true {
            if world.underWay.contains(where: { world.lane($0) == lane }) {
              Issue.record("two under way in one lane: \(random.replay)")
            }
          }
          world.underWay.insert(position)
        }
        for position in world.underWay.sorted() where random.oneIn(2) {
          world.underWay.remove(position)
          let verdict: Verdict =
            if !trouble || random.oneIn(2) { .confirmed } else {
              random.pick([
                .away, .failed(.unroutable, "u"), .failed(.congested, "c"), .failed(.exchange, "e"),
                .failed(.refused, "r"),
                .confirmed, .confirmed,
              ])
            }
          if verdict == .confirmed, world.confirmed.insert(position).inserted { world.order.append(position) }
          machine.settle(position, verdict, now: world.now)
        }
        if trouble ? random.oneIn(60) : steps == 151 {
          // A crash; and an operator who lets everything try again.
          world.underWay = []
          if !trouble || random.oneIn(3) {
            for (position, row) in world.held where row.reason == .refused { world.held[position]?.reason = .behind }
          }
          machine = world.machine()
        }
        if !trouble, world.checkpoint == world.head, world.held.isEmpty {
          quietRounds += 1
          if quietRounds > 3 { break }
        }
      }
      #expect(world.checkpoint == world.head, "round \(round): \(random.replay)")
      #expect(world.held.isEmpty, "round \(round): \(random.replay)")
      #expect(world.confirmed == Set(world.entries.map(\.position)), "\(random.replay)")
      for lane in Set(world.entries.map(\.lane)) where lane.isOrdered {
        let inLane = world.order.filter { world.lane($0) == lane }
        #expect(inLane == inLane.sorted(), "round \(round), \(lane): \(random.replay)")
      }
      if !world.held.isEmpty || world.checkpoint != world.head { return }
    }
  }

  private func entries(_ range: ClosedRange<Int64>, _ lane: (Int64) -> Lane) -> [RelayMachine.Entry] {
    range.map { .init(position: $0, lane: lane($0), size: 1) }
  }

  @Test func aHeldLaneHoldsBackOnlyItself() {
    var machine = RelayMachine(checkpoint: 0, held: [])
    machine.read(entries(1...6) { Lane(exchange: "e", key: $0 % 2 == 0 ? "a" : "b") }, through: 6, now: 0)
    #expect(machine.nextToSend(limit: 10, now: 0) == [1, 2])
    machine.settle(1, .failed(.unroutable, "nobody"), now: 0)
    machine.settle(2, .confirmed, now: 0)
    #expect(machine.nextToSend(limit: 10, now: 0) == [4])
    machine.settle(4, .confirmed, now: 0)
    #expect(machine.nextToSend(limit: 10, now: 0) == [6])
    machine.settle(6, .confirmed, now: 0)
    let commit = machine.takeCommit()
    #expect(commit?.to == 6)
    #expect(commit?.held.map(\.position) == [1, 3, 5])
    #expect(commit?.held.map(\.reason) == [.unroutable, .behind, .behind])
    #expect(machine.nextToSend(limit: 10, now: 999).isEmpty)
    #expect(machine.nextLoad(now: 999) == nil)
    #expect(machine.nextAlarm(now: 999) == 1000)
    #expect(machine.nextLoad(now: 1000)?.limit == 1)
  }

  @Test func aBrokerThatIsAwayUsesUpNothing() {
    var machine = RelayMachine(checkpoint: 0, held: [])
    machine.read(entries(1...3) { _ in Lane(exchange: "e", key: "k") }, through: 3, now: 0)
    var now: Int64 = 0
    for _ in 0..<1000 {
      now = machine.nextAlarm(now: now).map { max($0, now) } ?? now
      for position in machine.nextToSend(limit: 10, now: now) { machine.settle(position, .away, now: now) }
    }
    #expect(now < 1000 * 5001 * 2)
    #expect(machine.takeCommit()?.held.isEmpty != false)
    now += 10_000
    var sent: [Int64] = []
    while let position = machine.nextToSend(limit: 10, now: now).first {
      sent.append(position)
      machine.settle(position, .confirmed, now: now)
    }
    #expect(sent == [1, 2, 3])
    #expect(machine.takeCommit()?.to == 3)
  }

  @Test func probesComeLessAndLessOftenUpToAMinute() {
    var machine = RelayMachine(checkpoint: 0, held: [])
    let lane = Lane(exchange: "e", key: "k")
    machine.read(entries(1...1) { _ in lane }, through: 1, now: 0)
    var now: Int64 = 0
    var gaps: [Int64] = []
    #expect(machine.nextToSend(limit: 1, now: now) == [1])
    machine.settle(1, .failed(.congested, "full"), now: now)
    for _ in 0..<9 {
      _ = machine.takeCommit()
      let due = machine.nextAlarm(now: now) ?? -1
      gaps.append(due - now)
      now = due
      #expect(machine.nextLoad(now: now)?.lane == lane)
      machine.load(lane, [.init(position: 1, lane: lane, size: 1)], now: now)
      #expect(machine.nextToSend(limit: 1, now: now) == [1])
      machine.settle(1, .failed(.congested, "full"), now: now)
    }
    #expect(gaps == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000])
  }

  @Test func oneLaneThatFlowsAgainHurriesTheOthersOfItsExchange() {
    var machine = RelayMachine(checkpoint: 0, held: [])
    machine.read(entries(1...20) { Lane(exchange: "e", key: "k\($0)") }, through: 20, now: 0)
    for position in machine.nextToSend(limit: 20, now: 0) {
      machine.settle(position, .failed(.unroutable, "nobody"), now: position * 100)
    }
    _ = machine.takeCommit()
    guard let (lane, _) = machine.nextLoad(now: 1100) else {
      Issue.record("nothing is due")
      return
    }
    machine.load(lane, [.init(position: 1, lane: lane, size: 1)], now: 1100)
    #expect(machine.nextToSend(limit: 5, now: 1100) == [1])
    machine.settle(1, .confirmed, now: 1101)
    var loads = 0
    while machine.nextLoad(now: 1101) != nil { loads += 1 }
    #expect(loads == 19)
  }

  /// Drains fifty lanes, with a window and pages as the relay has them and a confirm that takes one round. Between their
  /// entries are four times as many of lanes that fail in every way.
  private func roundsOfHealthyLanes(sick: Bool) -> (rounds: Int, held: [HoldReason: Int]) {
    let reasons: [HoldReason] = [.unroutable, .refused, .congested, .exchange]
    var all: [RelayMachine.Entry] = []
    for number in 0..<2000 {
      all.append(.init(position: Int64(all.count + 1), lane: Lane(exchange: "fine", key: "k\(number % 50)"), size: 100))
      for reason in reasons where sick {
        all.append(.init(position: Int64(all.count + 1), lane: Lane(exchange: reason.rawValue, key: "s"), size: 100))
      }
    }
    var machine = RelayMachine(checkpoint: 0, held: [])
    var (rounds, left, held) = (0, 2000, [HoldReason: Int]())
    var underWay: [Int64] = []
    while left > 0, rounds < 10_000 {
      rounds += 1
      let now = Int64(rounds) * 2
      for position in underWay {
        let lane = all[Int(position) - 1].lane
        if lane.exchange == "fine" { left -= 1 }
        let reason = HoldReason(rawValue: lane.exchange)
        machine.settle(position, reason.map { .failed($0, "it is sick") } ?? .confirmed, now: now)
      }
      underWay = []
      if machine.wantsPage {
        let page = all.dropFirst(Int(machine.readThrough)).prefix(1000)
        machine.read(Array(page), through: page.last?.position ?? machine.readThrough, now: now)
      }
      underWay = machine.nextToSend(limit: 1000, now: now)
      if machine.isCommitDue(now: now), let commit = machine.takeCommit() {
        for row in commit.held { held[row.cause, default: 0] += 1 }
      }
    }
    for row in machine.takeCommit()?.held ?? [] { held[row.cause, default: 0] += 1 }
    return (rounds, held)
  }

  @Test func lanesThatFailCostTheOthersNothing() {
    let healthy = roundsOfHealthyLanes(sick: false)
    let beside = roundsOfHealthyLanes(sick: true)
    // One entry of each lane in a round, and one more until the first confirm.
    #expect(healthy.rounds == 41)
    #expect(Double(healthy.rounds) / Double(beside.rounds) >= 0.8, "\(healthy.rounds) and \(beside.rounds) rounds")
    for reason: HoldReason in [.unroutable, .refused, .congested, .exchange] {
      #expect(beside.held[reason] == 2000, "\(reason)")
    }
  }

  @Test func withoutAKeyARefusedEventWaitsAlone() {
    var machine = RelayMachine(checkpoint: 0, held: [])
    machine.read(entries(1...4) { _ in Lane(exchange: "e", key: nil) }, through: 4, now: 0)
    #expect(machine.nextToSend(limit: 10, now: 0) == [1, 2, 3, 4])
    machine.settle(2, .failed(.refused, "too large"), now: 0)
    for position: Int64 in [1, 3, 4] { machine.settle(position, .confirmed, now: 0) }
    let commit = machine.takeCommit()
    #expect(commit?.held.map(\.position) == [2])
    #expect(commit?.to == 4)
    #expect(machine.heldLanes == 0)
  }

  @Test func itLooksAheadOnlySoFar() {
    var machine = RelayMachine(checkpoint: 0, held: [])
    machine.read(entries(1...10_000) { _ in Lane(exchange: "e", key: "k") }, through: 10_000, now: 0)
    #expect(!machine.wantsPage)
    var large = RelayMachine(checkpoint: 0, held: [])
    large.read([.init(position: 1, lane: Lane(exchange: "e", key: nil), size: 16 << 20)], through: 1, now: 0)
    #expect(!large.wantsPage)
  }
}
