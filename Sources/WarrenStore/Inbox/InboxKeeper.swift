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
    let result = await commit(delivery.queue) { [self] db -> HandlerResult in
      if let known = try admit(key, db) { return known }
      Faults.reached(.inHandler)
      let result = HandlerScope.runNow(delivery, name: delivery.queue) { context in
        let context = InboxContext(context, isDeduplicated: key != nil)
        try body(db, context)
        try context.runCommits(db)
      }
      return try finish(result, db)
    }
    await pruneSometimes(delivery.queue)
    return result.committed ?? result.failed
  }

  // MARK: Handlers before the transaction

  func handle(
    _ delivery: Delivery, _ body: @escaping @Sendable (InboxContext) async throws -> Void
  ) async -> HandlerResult {
    let key = InboxKey(delivery)
    // A second copy while the first one is handled waits for its outcome, and then finds it.
    if let key { await underWay.enter(key) }
    defer { if let key { underWay.leave(key) } }
    if let known = await lookFirst(key) { return known }
    let last = Lock<InboxContext?>(nil)
    let result = await HandlerScope.run(delivery, name: delivery.queue) { context in
      let context = InboxContext(context, isDeduplicated: key != nil)
      last.withLock { $0 = context }
      Faults.reached(.inHandler)
      try await body(context)
    }
    guard case .handled = result.outcome, !Task.isCancelled else { return result }
    let committed = await commit(delivery.queue) { [self] db -> HandlerResult in
      if let known = try admit(key, db) { return known }
      // What onCommit throws counts as thrown by the handler.
      do {
        try last.withLock { $0 }?.runCommits(db)
      } catch {
        return try finish(HandlerResult(.failed(error)), db)
      }
      return try finish(result, db)
    }
    await pruneSometimes(delivery.queue)
    return committed.committed ?? committed.failed
  }

  private func lookFirst(_ key: InboxKey?) async -> HandlerResult? {
    guard let key else { return nil }
    // A failure shows again, and is dealt with, at the commit.
    guard let admission = try? await log.database.read({ try InboxRecords.look(key, $0) }) else { return nil }
    return verdict(admission, key)
  }

  // MARK: The commit

  /// Nil for an event that is to be handled; its record is written then.
  func admit(_ key: InboxKey?, _ db: Database) throws -> HandlerResult? {
    guard let key else { return nil }
    let admission = try InboxRecords.look(key, db)
    if let known = verdict(admission, key) { return known }
    try InboxRecords.insert(key, now: Int64(wallClockMilliseconds()), db)
    return nil
  }

  func verdict(_ admission: InboxRecords.Admission, _ key: InboxKey) -> HandlerResult? {
    switch admission {
    case .fresh: return nil
    case .tooOld where options.tooOld == .handle: return nil
    case .duplicate: return HandlerResult(.handled, isCommitted: true)
    case .reused:
      return HandlerResult(
        .deadLetter(
          .init(
            cause: "idReused",
            text: "the id \(key.id) was handled before with another body: its publisher uses it twice")))
    case .tooOld:
      return HandlerResult(
        .deadLetter(
          .init(
            cause: "tooOldToKnow",
            text:
              "records of events of its age are removed already, so it may have been handled: replay it if it was not"))
      )
    }
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
