import DequeModule
import Dispatch
import GRDB
import Warren
import WarrenSupport

/// The one way into the file for everything that Warren writes: commits what many callers hand over in groups.
///
/// It runs on the writer's own queue and in no task, because GRDB interrupts the connection when a task that writes is
/// cancelled: one impatient caller would roll back its neighbours. While a group is synced to the disk the next one gathers.
final class Committer: Sendable {
  /// More would hold up other users of the writing connection.
  private static let largestGroup = 256
  private static let largestBytes = 8 << 20

  private struct State {
    var waiting = Deque<Member>()
    var isScheduled = false
    var isSweeping = false
    var groups = 0
  }
  private let database: any DatabaseWriter
  private let timeout: Duration
  private let longestTransaction: Duration
  let bounds: Bounds
  let inline: InlineReaders
  private let state = Lock(State())
  private let transactionBegan = Lock<ContinuousClock.Instant?>(nil)
  private let observer: CommitObserver
  private let metrics: LogMetrics
  private let caution = Lock(0)

  init(
    database: any DatabaseWriter, observer: CommitObserver, metrics: LogMetrics, timeout: Duration,
    longestTransaction: Duration, bounds: Bounds, inline: InlineReaders
  ) {
    self.inline = inline
    self.observer = observer
    self.metrics = metrics
    self.database = database
    self.timeout = timeout
    self.longestTransaction = longestTransaction
    self.bounds = bounds
  }

  /// Appends entries and returns the first one's position, once they are committed.
  func append(_ rows: [EventRow]) async throws -> Int64 {
    try await submit(Member(.entries(rows), deadline: .now + timeout))
  }

  /// Appends to streams and returns what that came to, once it is committed.
  func append(_ append: PreparedAppend) async throws -> Appended {
    _ = try await submit(Member(.append(append), deadline: .now + timeout))
    guard let appended = append.outcome else { throw StoreError(.database, "an append left no result") }
    return appended
  }

  /// Runs `body` in a transaction and returns once that is committed. It may run again when the transaction of its group
  /// was lost through another member.
  func transact<R: Sendable>(_ body: @escaping @Sendable (Database) throws -> R) async throws -> R {
    let result = Lock<R?>(nil)
    let turn = Turn()
    turn.begin { db in
      let value = try body(db)
      result.withLock { $0 = value }
    }
    _ = try await submit(Member(.body(turn), deadline: .now + timeout))
    guard let value = result.withLock({ $0 }) else {
      throw StoreError(.database, "the body of the transaction left no result")
    }
    return value
  }

  private func submit(_ member: Member) async throws -> Int64 {
    let (isFirst, startsSweep) = state.withLock { state in
      state.waiting.append(member)
      defer {
        state.isScheduled = true
        state.isSweeping = true
      }
      return (!state.isScheduled, !state.isSweeping)
    }
    if isFirst { schedule() }
    if startsSweep { sweepLater() }
    return try await member.result()
  }

  /// How many members have not begun.
  var waitingCount: Int { state.withLock { $0.waiting.count } }

  /// How long the present transaction has lasted, when that is longer than interrupting its SQL takes; nil otherwise.
  var stuckTransaction: Duration? {
    guard let began = transactionBegan.withLock({ $0 }) else { return nil }
    let age = ContinuousClock.now - began
    return age > longestTransaction + .seconds(2) ? age : nil
  }

  /// How many groups have begun.
  var groupCount: Int { state.withLock { $0.groups } }

  private func schedule() {
    database.asyncWriteWithoutTransaction { db in self.commitWaiting(db) }
  }

  /// One group; then the writer's queue has its turn before the next.
  private func commitWaiting(_ db: Database) {
    let members = state.withLock { state in
      var members: [Member] = []
      var bytes: Int64 = 0
      while members.count < Self.largestGroup, bytes < Self.largestBytes, let member = state.waiting.popFirst() {
        guard member.begin() else { continue }
        members.append(member)
        switch member.work {
        case .entries(let rows): bytes += rows.reduce(0) { $0 + $1.size }
        case .append(let append): bytes += append.size
        case .body: break
        }
      }
      state.groups += 1
      underWay.withLock { $0 = members }
      return members
    }
    if !members.isEmpty {
      let start = metrics.isOn ? ContinuousClock.now : nil
      GroupCommit(
        db: db, bounds: bounds, inline: inline, began: transactionBegan, observer: observer, caution: caution
      ).commit(members)
      transactionBegan.withLock { $0 = nil }
      if let start { metrics.committed(members.count, since: start) }
    }
    let hasMore = state.withLock { state in
      underWay.withLock { $0 = [] }
      state.isScheduled = !state.waiting.isEmpty
      return state.isScheduled
    }
    if hasMore { schedule() }
  }

  // MARK: Deadlines

  private let underWay = Lock<[Member]>([])

  private func sweepLater() {
    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(250)) { [weak self] in self?.sweep() }
  }

  /// Looks a few times a second who has waited too long: a timer for every commit would cost more than a small commit.
  private func sweep() {
    let now = ContinuousClock.now
    let (late, goesOn) = state.withLock { state in
      let all = Array(state.waiting) + underWay.withLock { $0 }
      state.isSweeping = !all.isEmpty
      return (all.filter { $0.deadline <= now }, state.isSweeping)
    }
    if let began = transactionBegan.withLock({ $0 }), now - began > longestTransaction {
      // Rolls back. The members of a group run again one by one, so only the one that is to blame ends so again.
      database.interrupt()
    }
    for member in late { member.giveUp(.timedOut, "the timeout of \(timeout) passed") }
    if goesOn { sweepLater() }
  }
}
