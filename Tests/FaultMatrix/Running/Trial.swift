import BrokerFixture
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// One run: the two are brought into a phase, the fault happens and ends, work goes on, and everything is counted.
struct Trial {
  let cell: Cell
  let seed: UInt64
  let session: Session

  /// What a fault has to say for the count.
  struct Moments: Sendable {
    /// What was made before may be gone with it.
    var began: Int64 = 0
    var ended: Int64 = 0
    /// Subscriptions that may lose something: 0 is the inbox.
    var hit: Set<Int> = []
    var problems: [String] = []
    /// Done when work has gone on.
    var repair: (@Sendable () async throws -> Void)?
  }

  func run() async throws -> Outcome {
    var random = SplitMix(seed: seed)
    try await session.start()
    let start = ContinuousClock.now
    let run = session.begin()
    let logged = session.logSizes
    let expected = Expectation.of(cell)
    let lever = try await lever(&random)
    var moments: Moments
    do {
      try await enter(run, &random)
      moments = try await inject(lever, &random)
    } catch {
      await lever?.letGo()
      throw error
    }
    // Those that a fault has ended.
    try await session.start()
    try await load(run)
    let resumed = try await resumption(run, since: moments.ended, within: expected.resumesWithin * 3)
    if let repair = moments.repair { try await repair() }
    if resumed == nil { moments.problems.append("nothing was handled again within \(expected.resumesWithin * 3)") }
    if let resumed, resumed > expected.resumesWithin {
      moments.problems.append("work went on after \(resumed), allowed are \(expected.resumesWithin)")
    }
    guard await session.publisher?.ask("stop", for: "stopped", within: .seconds(60)) != nil else {
      throw Session.Failed(description: "a publish or a record did not end within 60 s")
    }
    let verdict = try await settle(run, moments, expected)
    var outcome = verdict.outcome(cell, seed)
    outcome.problems = moments.problems + outcome.problems
    if !expected.reported.isEmpty {
      let log = session.log(since: logged)
      // Whoever publishes directly while nothing is bound is told so at once.
      let isTold = cell.fault == .exchangeDeleted && outcome.refused + outcome.unknown > 0
      if !isTold, !expected.reported.contains(where: log.contains) {
        outcome.problems.append("neither the worker's nor the publisher's log says one of \(expected.reported)")
      }
    }
    outcome.problems += try await leaks()
    outcome.growth = [session.publisher, session.worker].compactMap { $0.map(session.growth) }.max() ?? 0
    if outcome.growth > 64 << 10 { outcome.problems.append("memory grew by \(outcome.growth) kB") }
    outcome.resumed = resumed.map { Int($0 / .milliseconds(1)) }
    outcome.took = Int((.now - start) / .milliseconds(1))
    return outcome
  }

  // MARK: Phases

  private func load(_ run: Int) async throws {
    guard await session.publisher?.ask("load \(run)", for: "loading", within: .seconds(20)) != nil else {
      throw Session.Failed(description: "the publisher does not answer")
    }
  }

  private func enter(_ run: Int, _ random: inout SplitMix) async throws {
    guard cell.phase != .idle else { return }
    if cell.phase == .handling {
      guard await session.worker?.ask("close", for: "done close", within: .seconds(10)) != nil else {
        throw Session.Failed(description: "the worker does not answer")
      }
    }
    let gate = Shared.now
    try await load(run)
    let some = Int.random(in: 4...24, using: &random)
    try await reach("\(some) events") {
      session.published.lines().count { $0.word == .recorded || $0.word == .confirmed } >= some
    }
    // A consumer begins with one delivery at a time: the window is open when it has had a few.
    if cell.phase != .handling {
      try await reach("events that are handled") { session.handled.lines().count { $0.word == .handled } >= 3 }
    }
    let now = Shared.now
    switch cell.phase {
    case .idle, .publishing: break
    case .confirming:
      session.publisherLine.behave { $0.holdsDown = true }
      try await reach("publish without a confirm") { unanswered(since: now, for: .milliseconds(40)) }
    case .handling:
      try await reach("handlers that run") {
        let words = Set(session.handled.lines().filter { $0.time > gate }.map(\.word))
        return words.isSuperset(of: [.begun, .begunPlain])
      }
    case .settling:
      session.workerLine.behave { $0.holdsUp = true }
      try await reach("handlers that have ended") {
        session.handled.lines().contains { $0.time > now && $0.word == .handled }
      }
    case .recovering:
      let before = session.lines.map(\.accepted)
      for line in session.lines {
        line.behave { $0.refuses = true }
        line.cut()
      }
      try await reach("tries to connect") { zip(session.lines, before).allSatisfy { $0.accepted > $1 } }
    }
  }

  private func leave() async {
    for line in session.lines { line.heal() }
    if cell.phase == .handling, session.worker?.isRunning == true {
      _ = await session.worker?.ask("open", for: "done open", within: .seconds(10))
    }
  }

  private func unanswered(since: Int64, for patience: Duration) -> Bool {
    let lines = session.published.lines().filter { $0.key >= Shared.storedKeys }
    let answered = Set(lines.filter { $0.word != .tried }.map(Entry.init))
    let limit = Shared.now - Int64(patience / .nanoseconds(1))
    return lines.contains { $0.word == .tried && max($0.at, since) < limit && !answered.contains(Entry($0)) }
  }

  private func reach(_ what: String, _ condition: () async throws -> Bool) async throws {
    guard try await eventually(timeout: .seconds(20), condition) else {
      throw Session.Failed(description: "the phase \(cell.phase.title) was not reached: no \(what)")
    }
  }

  // MARK: Faults

  /// What is done inside the broker is made ready before the phase.
  private func lever(_ random: inout SplitMix) async throws -> Lever? {
    let (folder, target) = (session.folder, session.target)
    func lasts(_ milliseconds: ClosedRange<Int>) -> Duration {
      .milliseconds(Int.random(in: milliseconds, using: &random))
    }
    switch cell.fault {
    case .permissionTaken:
      // So that the last run's refusals do not count: up to 30 s it would wait then.
      try await Task.sleep(for: .seconds(6))
      return Lever(
        target, folder: folder, begin: Target.permissions(of: session.name, "^$"), lasts: lasts(1000...2500),
        end: Target.permissions(of: session.name, ".*"))
    case .memoryAlarm, .diskAlarm:
      let resource = "{resource_limit,\(cell.fault == .memoryAlarm ? "memory" : "disk"),node()}"
      return Lever(
        target, folder: folder, begin: "rabbit_alarm:set_alarm({\(resource),[]})", lasts: lasts(500...2000),
        end: "rabbit_alarm:clear_alarm(\(resource))")
    case .connectionsClosed:
      return Lever(
        target, folder: folder,
        begin:
          "[catch rabbit_networking:close_connection(P, \"by the fault matrix\") || P <- rabbit_networking:connections_local()]",
        lasts: .zero, end: "ok")
    case .brokerKilled:
      // RabbitMQ 3.x writes what was declared to its disk log with a delay of some two seconds: killed before, it has forgotten it.
      try await Task.sleep(for: max(.zero, .seconds(5) - session.age))
      return nil
    case .leaderKilled:
      try await Task.sleep(for: max(.zero, .seconds(5) - session.age))
      // The node that the last run killed may be on its way back: two nodes fewer are no majority.
      let queues = try session.queues
      let isWhole = try await eventually(timeout: .seconds(60)) { try await target.onlineMembers(of: queues) == 3 }
      if !isWhole { throw Session.Failed(description: "the queues have not got their three members back") }
      return nil
    default: return nil
    }
  }

  private func inject(_ lever: Lever?, _ random: inout SplitMix) async throws -> Moments {
    var moments = Moments(began: Shared.now)
    do {
      if let lever {
        try await lever.pull()
        if cell.fault == .permissionTaken {
          // Only whoever comes anew is asked for its rights.
          for line in session.lines {
            line.cut()
            line.heal()
          }
        }
        moments.ended = try await lever.end()
      } else {
        try await perform(&moments, &random)
      }
    } catch {
      await leave()
      throw error
    }
    await leave()
    if moments.ended == 0 { moments.ended = Shared.now }
    return moments
  }

  private func pause(_ milliseconds: ClosedRange<Int>, _ random: inout SplitMix) async throws {
    try await Task.sleep(for: .milliseconds(Int.random(in: milliseconds, using: &random)))
  }

  private func perform(_ moments: inout Moments, _ random: inout SplitMix) async throws {
    switch cell.fault {
    case .publisherKilled, .workerKilled:
      let child = cell.fault == .publisherKilled ? session.publisher : session.worker
      moments.ended = Shared.now
      child?.signal(SIGKILL)
      if await child?.end(within: .seconds(10)) != -SIGKILL { moments.problems.append("it was not killed") }
    case .publisherTerminated, .workerTerminated:
      let child = cell.fault == .publisherTerminated ? session.publisher : session.worker
      child?.signal(SIGTERM)
      let status = await child?.end(within: .seconds(15))
      if status != 0 {
        let text = status.map { "it ended with status \($0) after SIGTERM" } ?? "it did not end within 15 s of SIGTERM"
        moments.problems.append(text)
        child?.signal(SIGKILL)
        _ = await child?.end(within: .seconds(10))
      }
    case .brokerKilled, .brokerRestarted, .brokerFrozen, .leaderKilled:
      try await breakBroker(&moments, &random)
    case .cut, .halfOpen, .slow, .oneWay: try await breakLine(&random)
    case .queueDeleted, .bindingDeleted, .exchangeDeleted: try await delete(&moments, &random)
    case .storeLocked, .diskFull: try await breakStore(&random)
    case .connectionsClosed, .memoryAlarm, .diskAlarm, .permissionTaken: break
    }
  }

  private func breakBroker(_ moments: inout Moments, _ random: inout SplitMix) async throws {
    switch cell.fault {
    case .brokerKilled:
      guard let broker = TestBroker.processID else { throw Session.Failed(description: "no broker to kill") }
      kill(broker, SIGKILL)
      try await pause(0...1000, &random)
      try await onThread { try TestBroker.restart() }
    case .brokerRestarted:
      try await onThread {
        try TestBroker.ctl("shutdown")
        try TestBroker.restart()
      }
    case .brokerFrozen:
      guard let broker = TestBroker.processID else { throw Session.Failed(description: "no broker to freeze") }
      kill(broker, SIGSTOP)
      try? await pause(1000...7000, &random)
      kill(broker, SIGCONT)
    default:
      let leader = try await session.target.leader(of: try session.queues[0])
      let process = try await onThread { try Target.cluster("node", "\(leader)", "pid") }
      guard let process = Int32(process) else { throw Session.Failed(description: "node \(leader) has no process") }
      moments.ended = Shared.now
      kill(process, SIGKILL)
      moments.repair = { _ = try await onThread { try Target.cluster("node", "\(leader)", "start") } }
    }
  }

  /// The publisher's line, the worker's, or both; in a phase that one of them makes, that one.
  private func breakLine(_ random: inout SplitMix) async throws {
    let choice = Int.random(in: 0..<3, using: &random)
    let lines =
      switch cell.phase {
      case .confirming: [session.publisherLine]
      case .handling, .settling: [session.workerLine]
      case .idle, .publishing, .recovering: choice == 2 ? session.lines : [session.lines[choice]]
      }
    // While both recover: as soon as they may connect.
    if cell.phase == .recovering, cell.fault != .cut { for line in session.lines { line.heal() } }
    switch cell.fault {
    case .cut:
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let bytes = Bool.random(using: &random) ? Int.random(in: 1...3000, using: &random) : 0
        let isUp = Bool.random(using: &random)
        for line in lines {
          line.behave { behaviour in
            // So that the cut meets the handshake, and the bytes that are to pass can.
            (behaviour.refuses, behaviour.holdsUp, behaviour.holdsDown) = (false, false, false)
            if bytes > 0 { if isUp { behaviour.cutAfterUp = bytes } else { behaviour.cutAfterDown = bytes } }
          }
          if bytes == 0 { line.cut() }
        }
        try await pause(0...300, &random)
      }
    case .halfOpen:
      if cell.phase == .recovering { try await pause(0...400, &random) }
      for line in lines { line.freeze() }
    case .slow:
      let delay = UInt32.random(in: 0...20_000, using: &random)
      let bytes = Int.random(in: 300...4000, using: &random)
      for line in lines {
        line.behave { behaviour in
          (behaviour.holdsUp, behaviour.holdsDown) = (false, false)
          (behaviour.delay, behaviour.bytesPerTurn) = (delay, bytes)
        }
      }
      try await pause(300...1500, &random)
    default:
      let isUp = Bool.random(using: &random)
      for line in lines { line.behave { if isUp { $0.holdsUp = true } else { $0.holdsDown = true } } }
      let isLong = Int.random(in: 0..<4, using: &random) == 0
      try await pause(isLong ? 4500...6000 : 300...2000, &random)
    }
  }

  private func delete(_ moments: inout Moments, _ random: inout SplitMix) async throws {
    let index = Int.random(in: 0...1, using: &random)
    let queue = try session.queues[index]
    switch cell.fault {
    case .queueDeleted: try await session.direct.topology.perform(.deleteQueue(queue))
    case .bindingDeleted:
      try await session.direct.topology.perform(.unbind(queue: queue, exchange: try session.exchange, key: "#"))
    default: try await session.direct.topology.perform(.deleteExchange(try session.exchange))
    }
    moments.began = Shared.now
    moments.hit = cell.fault == .exchangeDeleted ? [0, 1] : [index]
  }

  private func breakStore(_ random: inout SplitMix) async throws {
    let isPublishers =
      switch cell.phase {
      case .publishing, .confirming: true
      case .handling, .settling: false
      case .idle, .recovering: Bool.random(using: &random)
      }
    let milliseconds = Int.random(in: 200...2500, using: &random)
    if cell.fault == .diskFull {
      let child = isPublishers ? session.publisher : session.worker
      child?.tell("full")
      try await Task.sleep(for: .milliseconds(milliseconds))
      child?.tell("roomy")
      return
    }
    var configuration = Configuration()
    configuration.allowsUnsafeTransactions = true
    configuration.busyMode = .timeout(10)
    let path = "\(session.folder)/\(isPublishers ? "publisher" : "worker").sqlite"
    let stranger = try DatabaseQueue(path: path, configuration: configuration)
    try await stranger.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
    try? await Task.sleep(for: .milliseconds(milliseconds))
    try await stranger.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
    try stranger.close()
  }

  // MARK: Counting

  /// Until events of both kinds, made after the fault had ended, are handled by both; nil when they are not in time.
  private func resumption(_ run: Int, since end: Int64, within limit: Duration) async throws -> Duration? {
    let isResumed = try await eventually(timeout: limit) {
      let made = session.published.lines().filter { $0.at >= end }
      let plain = Set(session.handled.lines().filter { $0.word == .handled }.map(Entry.init))
      guard
        made.contains(where: { $0.word == .recorded && plain.contains(Entry($0)) }),
        made.contains(where: { $0.word == .confirmed && plain.contains(Entry($0)) })
      else { return false }
      let effects = Set(try await effects(run))
      return made.contains { $0.word == .recorded && effects.contains(Entry($0)) }
        && made.contains { $0.word == .confirmed && effects.contains(Entry($0)) }
    }
    return isResumed ? .nanoseconds(Shared.now - end) : nil
  }

  private func effects(_ run: Int) async throws -> [Entry] {
    guard let database = session.effects else { return [] }
    return try await database.read { db in
      try Row.fetchAll(db, sql: "SELECT key, number FROM effect WHERE run = ? ORDER BY rowid", arguments: [run])
        .map { Entry(key: $0["key"], number: $0["number"]) }
    }
  }

  /// Waits until all is done that is owed, and then counts.
  private func settle(_ run: Int, _ moments: Moments, _ expected: Expectation) async throws -> Verdict {
    var verdict = Verdict(published: session.published.lines(), handled: [], effects: [])
    _ = try await eventually(timeout: .seconds(30)) {
      verdict = Verdict(
        published: session.published.lines(), handled: session.handled.lines(), effects: try await effects(run))
      if expected.loss == .untilNoticed { verdict.forgive(moments.hit, since: moments.began) }
      return verdict.isComplete
    }
    let backlog = try await eventually(timeout: .seconds(30)) {
      await session.publisher?.ask("backlog", for: "backlog", within: .seconds(10)) == "backlog 0"
    }
    if !backlog { verdict.problems.append("the relay has not delivered everything 30 s later") }
    for queue in try session.queues where try await !session.direct.waitForDepth(queue, 0, timeout: .seconds(20)) {
      verdict.problems.append("\(queue) is not empty")
    }
    for queue in try session.deadLetters {
      let count = try await session.direct.depth(queue)
      if count != 0 { verdict.problems.append("\(count) events are in \(queue)") }
    }
    var last = Verdict(
      published: session.published.lines(), handled: session.handled.lines(), effects: try await effects(run))
    if expected.loss == .untilNoticed { last.forgive(moments.hit, since: moments.began) }
    last.problems = verdict.problems
    last.judge()
    return last
  }

  private func leaks() async throws -> [String] {
    var problems: [String] = []
    for (name, child) in [("publisher", session.publisher), ("worker", session.worker)] {
      guard let child else { continue }
      // One for each of the two connections; what wakes its thread, beside those of the runtime; the store's files.
      let allowed = Holdings(threads: 2, sockets: 2, descriptors: 48, wakeups: 8)
      let isGone = try await eventually(timeout: .seconds(10)) { !child.holdings.exceeds(allowed) }
      if !isGone { problems.append("the \(name) holds \(child.holdings)") }
    }
    return problems
  }
}
