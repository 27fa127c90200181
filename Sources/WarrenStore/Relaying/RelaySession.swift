import GRDB
import Logging
import Warren
import WarrenSupport

/// The relay's work from one beginning to its end: asks the machine, and does what it says.
final class RelaySession: Sendable {
  private static let batch = 64
  private let relay: Relay
  private let number: Int
  private let log: EventLog
  private let lock: RelayLock
  private let mailbox: RelayMailbox
  private let changes: FileChanges
  private let alarm = Lock(Int64.max)
  private let ticker = Ticker()
  private let began: Int64

  /// `number` differs for each session of a relay.
  init(_ relay: Relay, number: Int, lock: RelayLock, mailbox: RelayMailbox) throws {
    self.relay = relay
    self.number = number
    self.lock = lock
    self.mailbox = mailbox
    log = relay.log
    changes = try FileChanges(path: relay.log.path)
    began = Int64(wallClockMilliseconds())
  }

  private static var now: Int64 { steadyMilliseconds() }

  /// Returns when the relay stops, or when the file has to be read anew.
  func run() async throws {
    let listener = log.wakeUp.listen { [mailbox] in mailbox.call() }
    ticker.start { [self] in tick() }
    defer {
      log.wakeUp.forget(listener)
      ticker.stop()
    }
    mailbox.call()
    try await work()
  }

  /// Commits of other processes, and what becomes due by itself.
  private func tick() {
    let isDue = alarm.withLock { $0 <= Self.now }
    if changes.look() || isDue { mailbox.call() }
  }

  /// What one session has in its hands.
  private struct Hand {
    var machine: RelayMachine
    var generation: Int64
    var bodies: [Int64: EncodedEvent?] = [:]
    var lanes: [Int64: Lane] = [:]
    /// By the first position of each.
    var publishes: [Int64: Task<Void, Never>] = [:]
    var underWay = 0
    var pruned: Int64 = 0
    var nextDue: Int64?
    var nextUpkeep: Int64
    var isEnding = false
    var mayHaveMore = true
    var noted: Int64 = 0
  }

  private func work() async throws {
    let beginning = try await read { try RelayFile.begin($0) }
    let wall = Int64(wallClockMilliseconds())
    let held = beginning.held.map { held in
      // Times in the file are of the wall clock, which may have been set meanwhile.
      (held.lane, held.reason, held.count, held.nextTry.map { Self.now + max(0, min(60_000, $0 - wall)) })
    }
    var hand = Hand(
      machine: RelayMachine(checkpoint: beginning.checkpoint, held: held), generation: beginning.generation,
      nextUpkeep: Self.now)
    var stopAt: Int64?
    while true {
      let news = await mailbox.next()
      settle(news, &hand)
      if news.isStopping || hand.isEnding {
        stopAt = stopAt ?? Self.now + Int64(relay.options.gracePeriod / .milliseconds(1))
        if hand.underWay == 0 {
          try await commit(&hand)
          return
        }
        if let stopAt, Self.now >= stopAt, news.isStopping {
          for publish in hand.publishes.values { publish.cancel() }
        }
        alarm.withLock { $0 = Self.now + 50 }
        continue
      }
      if news.hasCall { hand.mayHaveMore = true }
      try await turn(&hand)
      note(&hand)
      log.writeAheadLog.copyForOthers()
      let next = [hand.machine.nextAlarm(now: Self.now), dueAlarm(hand), hand.nextUpkeep].compactMap(\.self).min()
      alarm.withLock { $0 = next ?? .max }
    }
  }

  /// Everything that can be done now.
  private func turn(_ hand: inout Hand) async throws {
    var isBusy = true
    while isBusy {
      isBusy = false
      if hand.mayHaveMore { try await appendDue(&hand) }
      if hand.mayHaveMore, hand.machine.wantsPage { isBusy = try await readPage(&hand) }
      if hand.isEnding { return }
      while let (lane, limit) = hand.machine.nextLoad(now: Self.now) {
        try await commit(&hand)
        let page = try await read { try RelayFile.held($0, lane: lane, limit: limit) }
        take(page, &hand)
        hand.machine.load(lane, page.entries, now: Self.now)
      }
      while hand.underWay < relay.options.window {
        let limit = min(Self.batch, relay.options.window - hand.underWay)
        let positions = hand.machine.nextToSend(limit: limit, now: Self.now)
        if positions.isEmpty { break }
        send(positions, &hand)
      }
      if hand.machine.isCommitDue(now: Self.now) { try await commit(&hand) }
      if Self.now >= hand.nextUpkeep { try await upkeep(&hand) }
      if mailbox.isStopping { return }
    }
  }

  // MARK: Reading

  private func read<R: Sendable>(_ body: @escaping @Sendable (Database) throws -> R) async throws -> R {
    try await log.read(doing: "reading the log", body)
  }

  /// True when there may be more.
  private func readPage(_ hand: inout Hand) async throws -> Bool {
    let after = hand.machine.readThrough
    let page = try await read { try RelayFile.page($0, after: after) }
    guard page.generation == hand.generation else {
      // An operator has changed held entries: after what is under way, all begins anew from the file.
      hand.isEnding = true
      mailbox.call()
      return false
    }
    try syncIfNeeded()
    take(page, &hand)
    hand.machine.read(page.entries, through: page.through, now: Self.now)
    hand.mayHaveMore = page.isPart
    return hand.mayHaveMore
  }

  private func take(_ page: RelayFile.Page, _ hand: inout Hand) {
    for (entry, event) in zip(page.entries, page.events) where !entry.isAside {
      hand.bodies[entry.position] = .some(event)
      hand.lanes[entry.position] = entry.lane
    }
    let count = hand.bodies.count
    relay.peak.withLock { $0 = max($0, count) }
  }

  /// With commits that a power cut could undo, nothing may leave that is not on the disk.
  private func syncIfNeeded() throws { try log.walSync?.sync() }

  // MARK: Sending

  private func send(_ positions: [Int64], _ hand: inout Hand) {
    var events: [EncodedEvent] = []
    var sent: [Int64] = []
    for position in positions {
      if case .some(.some(let event)) = hand.bodies[position] {
        events.append(event)
        sent.append(position)
      } else {
        hand.machine.settle(position, .failed(.refused, "its row in the log cannot be read"), now: Self.now)
      }
    }
    guard !sent.isEmpty else { return }
    hand.underWay += sent.count
    let (publisher, mailbox, batch, number) = (relay.publisher, mailbox, events, number)
    let places = sent
    hand.publishes[places[0]] = Task {
      Faults.reached(.beforePublish)
      let outcomes = await LogSpans.relaying(batch) { await publisher.publish(encoded: batch) }
      Faults.reached(.afterPublish)
      mailbox.settled(places, outcomes, session: number)
    }
  }

  private func settle(_ news: RelayMailbox.News, _ hand: inout Hand) {
    for (session, position, outcome) in news.outcomes where session == number {
      hand.underWay -= 1
      hand.publishes[position] = nil
      guard let lane = hand.lanes[position], case .some(.some(let event)) = hand.bodies[position] else { continue }
      let verdict = relay.verdict(outcome, lane, event.metadata.type)
      switch verdict {
      case .confirmed:
        log.confirms.confirmed(position)
        log.metrics.delivered(event)
      case .away: log.logger.debug("an event could not be published yet", metadata: ["outcome": "\(outcome)"])
      case .failed(let reason, let text):
        log.logger.info(
          "an event is held back",
          metadata: [
            "position": "\(position)", "type": "\(event.metadata.type)", "reason": "\(reason.rawValue)",
            "text": "\(text)",
          ])
      }
      hand.machine.settle(position, verdict, now: Self.now)
    }
    forget(&hand)
  }

  private func forget(_ hand: inout Hand) {
    for position in hand.machine.takeDropped() {
      hand.bodies[position] = nil
      hand.lanes[position] = nil
    }
  }

  // MARK: Writing

  private func commit(_ hand: inout Hand) async throws {
    guard let commit = hand.machine.takeCommit() else { return }
    Faults.reached(.beforeCheckpoint)
    let pruned = hand.pruned
    var backoff = Duration.milliseconds(100)
    while true {
      do {
        hand.pruned = try await log.committer.transact { db in
          try RelayFile.write(commit, prunedThrough: pruned, now: Int64(wallClockMilliseconds()), db)
        }
        break
      } catch {
        let error = StoreError(error, doing: "writing the relay's checkpoint")
        guard error.isRetryable, !error.mayHaveBeenRecorded, !mailbox.isStopping else { throw error }
        log.logger.info("the relay's checkpoint cannot be written yet", metadata: ["error": "\(error)"])
        try? await Task.sleep(for: backoff)
        backoff = min(backoff * 2, .seconds(5))
      }
    }
    forget(&hand)
    Faults.reached(.afterCheckpoint)
  }

  private func write(_ body: @escaping @Sendable (Database) throws -> Void) async throws {
    do {
      try await log.committer.transact(body)
    } catch {
      throw StoreError(error, doing: "writing to the log")
    }
  }

  // MARK: Scheduled entries, bounds, progress

  private func dueAlarm(_ hand: Hand) -> Int64? {
    hand.nextDue.map { Self.now + max(0, $0 - Int64(wallClockMilliseconds())) }
  }

  private func appendDue(_ hand: inout Hand) async throws {
    let wall = Int64(wallClockMilliseconds())
    hand.nextDue = try await read { try ScheduledEntries.nextDue($0) }
    while let due = hand.nextDue, due <= wall {
      try await write { _ = try ScheduledEntries.appendDue(now: wall, limit: 500, $0) }
      hand.nextDue = try await read { try ScheduledEntries.nextDue($0) }
    }
  }

  private func upkeep(_ hand: inout Hand) async throws {
    hand.nextUpkeep = Self.now + 10_000
    if log.metrics.isOn { log.metrics.set(try await log.status()) }
    let (age, most) = (Int64(relay.options.longestUnroutable / .milliseconds(1)), relay.options.mostUnroutable)
    let now = Int64(wallClockMilliseconds())
    if try await read({ try HeldEntries.hasDiscarded($0) }) {
      try await write { try HeldEntries.removeDiscarded($0) }
    }
    if try await read({ try UnroutableBound.isPassed(oldest: now - age, most: most, $0) }) {
      try await commit(&hand)
      try await write { try UnroutableBound.apply(oldest: now - age, most: most, now: now, $0) }
      mailbox.call()
    }
  }

  private func note(_ hand: inout Hand) {
    let now = Self.now
    guard now - hand.noted > 500 || hand.noted == 0 else { return }
    hand.noted = now
    lock.note(RelayHolder(process: ownProcessID(), since: began, progressAt: Int64(wallClockMilliseconds())))
  }
}
