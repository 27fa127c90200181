import GRDB
import Logging
import Warren
import WarrenSupport

/// One delivery between its handler and its commit.
final class InboxKeeper: Sendable {
  private let log: EventLog
  private let options: Inbox.Options
  private let underWay = DeliveriesUnderWay()
  private let nextPrune = Lock<[String: ContinuousClock.Instant]>([:])

  init(_ log: EventLog, _ options: Inbox.Options) {
    self.log = log
    self.options = options
  }

  /// Takes back what was written: the handler threw or decided otherwise.
  struct Stopped: Error {
    var result: HandlerResult
  }

  // MARK: Handlers in the transaction

  func handleNow(
    _ delivery: Delivery, _ body: @escaping @Sendable (Database, InboxContext) throws -> Void
  ) async -> HandlerResult {
    let key = InboxKey(delivery)
    let ending = await commit(delivery.queue) { [self] db -> InboxVerdict in
      if let known = try admit(key, db) { return known }
      Faults.reached(.inHandler)
      let result = HandlerScope.runNow(delivery, name: delivery.queue) { context in
        let context = InboxContext(context, isDeduplicated: key != nil)
        try timed(delivery) {
          try body(db, context)
          try context.runCommits(db)
        }
      }
      return InboxVerdict(try finish(result, db))
    }
    await pruneSometimes(delivery.queue)
    return counted(delivery.queue, ending.committed ?? InboxVerdict(ending.failed))
  }

  // MARK: Handlers before the transaction

  func handle(
    _ delivery: Delivery, _ body: @escaping @Sendable (InboxContext) async throws -> Void
  ) async -> HandlerResult {
    let key = InboxKey(delivery)
    // A second copy while the first one is handled waits for its outcome, and then finds it.
    if let key { await underWay.enter(key) }
    defer { if let key { underWay.leave(key) } }
    if let known = await lookFirst(key) { return counted(delivery.queue, known) }
    let last = Lock<InboxContext?>(nil)
    let result = await HandlerScope.run(delivery, name: delivery.queue) { context in
      let context = InboxContext(context, isDeduplicated: key != nil)
      last.withLock { $0 = context }
      Faults.reached(.inHandler)
      try await body(context)
    }
    guard case .handled = result.outcome, !Task.isCancelled else {
      return counted(delivery.queue, InboxVerdict(result))
    }
    let ending = await commit(delivery.queue) { [self] db -> InboxVerdict in
      if let known = try admit(key, db) { return known }
      // What onCommit throws counts as thrown by the handler.
      do {
        try timed(delivery) { try last.withLock { $0 }?.runCommits(db) }
      } catch {
        return InboxVerdict(try finish(HandlerResult(.failed(error)), db))
      }
      return InboxVerdict(try finish(result, db))
    }
    await pruneSometimes(delivery.queue)
    return counted(delivery.queue, ending.committed ?? InboxVerdict(ending.failed))
  }

  private func lookFirst(_ key: InboxKey?) async -> InboxVerdict? {
    guard let key else { return nil }
    // A failure shows again, and is dealt with, at the commit.
    guard let admission = try? await log.read(doing: "asking the inbox", { try InboxRecords.look(key, $0) })
    else { return nil }
    return verdict(admission, key)
  }

  // MARK: The commit

  /// Nil for an event that is to be handled; its record is written then.
  func admit(_ key: InboxKey?, _ db: Database) throws -> InboxVerdict? {
    guard let key else { return nil }
    let admission = try InboxRecords.look(key, db)
    if let known = verdict(admission, key) { return known }
    try InboxRecords.insert(key, now: Int64(wallClockMilliseconds()), db)
    return nil
  }

  private func verdict(_ admission: InboxRecords.Admission, _ key: InboxKey) -> InboxVerdict? {
    switch admission {
    case .fresh: return nil
    case .tooOld where options.tooOld == .handle: return nil
    case .duplicate: return .duplicate
    case .reused: return .idReused(key.id)
    case .tooOld: return .tooOldToKnow
    }
  }

  func counted(_ queue: String, _ verdict: InboxVerdict) -> HandlerResult {
    log.metrics.inbox(queue, verdict.outcome)
    return verdict.result
  }

  /// What the handler published goes into the log with its effect. Everything else than success takes back all.
  private func finish(_ result: HandlerResult, _ db: Database) throws -> HandlerResult {
    switch result.outcome {
    case .handled:
      if !result.collected.isEmpty {
        let rows: [EventRow]
        do throws(StoreError) {
          rows = try log.rows(result.collected.map(\.event))
        } catch {
          throw Stopped(result: HandlerResult(.deadLetter(.publishFailed(error.message))))
        }
        _ = try log.append(rows, db)
      }
      Faults.reached(.beforeHandlerCommit)
      return HandlerResult(.handled, isCommitted: true)
    case .failed(let error) where Self.isTheStores(error):
      throw error
    case .failed, .retry, .deadLetter, .ignored:
      throw Stopped(result: HandlerResult(result.outcome))
    }
  }

  /// The disk's fault and not the handler's.
  static func isTheStores(_ error: any Error) -> Bool {
    guard let error = error as? DatabaseError else { return false }
    return error.concernsEverybody || error.resultCode == .SQLITE_BUSY
  }

  /// Commits, and tries again for as long as the store is at fault: an event must not go to the dead letters because a disk
  /// is full.
  func commit<R: Sendable>(
    _ queue: String, _ body: @escaping @Sendable (Database) throws -> R
  ) async -> Ending<R> {
    var backoff = Duration.milliseconds(100)
    while true {
      do {
        let result = try await log.committer.transact(body)
        Faults.reached(.afterHandlerCommit)
        return Ending(committed: result)
      } catch let stopped as Stopped {
        return Ending(failed: stopped.result)
      } catch let error as DatabaseError where !error.concernsEverybody && error.resultCode != .SQLITE_BUSY {
        return Ending(failed: HandlerResult(.failed(error)))
      } catch let error as StoreError where error.code == .transactionEnded {
        return Ending(failed: HandlerResult(.failed(error)))
      } catch {
        log.logger.info(
          "an event could not be committed as handled yet", metadata: ["queue": "\(queue)", "error": "\(error)"])
        if Task.isCancelled { return Ending(failed: HandlerResult(.failed(error))) }
        // Ends early, and so comes to the line above, when the task is cancelled.
        try? await Task.sleep(for: backoff)
        backoff = min(backoff * 2, .seconds(5))
      }
    }
  }

  /// What a commit came to: its value, or why there is none.
  struct Ending<R: Sendable>: Sendable {
    var committed: R?
    var failed = HandlerResult(.handled)
  }

  // MARK: Slow handlers

  private let nextWarning = Lock<[String: ContinuousClock.Instant]>([:])

  /// Runs what a handler does in the transaction. While it does, nobody else can write to the file, so one that takes long is
  /// named, once a minute for each queue.
  func timed<R>(_ delivery: Delivery, _ body: () throws -> R) throws -> R {
    let start = ContinuousClock.now
    defer { warnIfSlow(delivery, ContinuousClock.now - start) }
    return try body()
  }

  private func warnIfSlow(_ delivery: Delivery, _ time: Duration) {
    guard time >= options.slow else { return }
    let now = ContinuousClock.now
    let isDue = nextWarning.withLock { next in
      if let due = next[delivery.queue], due > now { return false }
      next[delivery.queue] = now + .seconds(60)
      return true
    }
    guard isDue else { return }
    log.logger.info(
      "a handler took \(Int(time / .milliseconds(1))) ms inside the transaction, and nobody else could write to the file: do input, output and long computations in the asynchronous form, before context.onCommit",
      metadata: ["queue": "\(delivery.queue)", "type": "\(delivery.type)"])
  }

  // MARK: Forgetting

  /// Removes old records of a queue, once a minute, in short commits.
  func pruneSometimes(_ queue: String) async {
    let now = ContinuousClock.now
    let isDue = nextPrune.withLock { next in
      if let due = next[queue], due > now { return false }
      next[queue] = now + .seconds(60)
      return true
    }
    guard isDue else { return }
    let oldest = Int64(wallClockMilliseconds()) - Int64(options.window / .milliseconds(1))
    for _ in 0..<100 {
      let count = try? await log.committer.transact {
        let count = try InboxRecords.prune(queue: queue, before: oldest, limit: 500, $0)
        return max(count, try InboxRecords.pruneReplays(queue: queue, before: oldest, limit: 500, $0))
      }
      guard let count, count >= 500 else { return }
    }
  }
}
