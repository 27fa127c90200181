import GRDB
import Warren
import WarrenSupport

/// One transaction for several members, a result for each. Nobody gets one before COMMIT has returned.
///
/// A member's failure takes back only what that member wrote. One that destroys the transaction (a ROLLBACK conflict clause, a
/// raw COMMIT, a deferred foreign key that fails at the end) must not take its neighbours with it: all run again, one by one.
///
/// Savepoints are what a failure needs, and SQLite allocates 64 KiB for each, which costs more than a small write. So a group
/// first runs without; when a member throws, all is taken back and run again with one savepoint each.
struct GroupCommit {
  let db: Database
  let bounds: Bounds
  /// What runs inside appends.
  let inline: InlineReaders
  /// When the transaction that runs began: who watches over it interrupts one that takes too long.
  let began: Lock<ContinuousClock.Instant?>
  /// Sees what members do to the transaction behind our back.
  let observer: CommitObserver
  /// So many groups will use savepoints at once, because a member has thrown not long ago.
  let caution: Lock<Int>

  /// After a throw, this many groups are cautious.
  private static let cautiousGroups = 16

  /// The transaction is gone. `wasCommitted` when a member committed it.
  private struct Lost: Error {
    var wasCommitted: Bool
  }
  /// A member threw where there is no savepoint to go back to.
  private struct NeedsSavepoints: Error {}
  private typealias Outcome = Result<Int64, any Error>

  func commit(_ members: [Member]) {
    var rest = members[...]
    while !rest.isEmpty { rest = rest.dropFirst(together(rest)) }
    leaveTransaction()
  }

  /// Commits members as one group; returns how many are settled.
  private func together(_ members: ArraySlice<Member>) -> Int {
    guard members.count > 1 else {
      if let member = members.first { alone(member) }
      return members.count
    }
    let isCautious = caution.withLock { left in
      defer { left = max(0, left - 1) }
      return left > 0
    }
    if !isCautious, let settled = together(members, savepoints: false) { return settled }
    return together(members, savepoints: true) ?? oneByOne(members)
  }

  /// Nil when the group has to be run in another way; nothing of it is left then.
  private func together(_ members: ArraySlice<Member>, savepoints: Bool) -> Int? {
    var outcomes: [Outcome] = []
    do {
      try begin()
      while outcomes.count < members.count {
        let rest = members.dropFirst(outcomes.count)
        let plain = try appendPlain(rest)
        outcomes.append(contentsOf: plain)
        guard plain.isEmpty, let member = rest.first else { continue }
        outcomes.append(try savepoints ? inSavepoint(member) : inTheOpen(member))
      }
      Faults.reached(.beforeCommit)
      do {
        try endTransaction()
      } catch let error as DatabaseError where !error.concernsEverybody {
        // A member's fault that shows only now.
        leaveTransaction()
        return oneByOne(members)
      }
      Faults.reached(.afterCommit)
      for (member, outcome) in zip(members, outcomes) { member.settle(outcome) }
      return members.count
    } catch is NeedsSavepoints {
      leaveTransaction()
      caution.withLock { $0 = Self.cautiousGroups }
      return nil
    } catch let lost as Lost {
      leaveTransaction()
      guard lost.wasCommitted else { return oneByOne(members) }
      for (member, outcome) in zip(members, outcomes) { member.settle(outcome) }
      members[members.startIndex + outcomes.count].settle(.failure(Self.endedByMember(committed: true)))
      return outcomes.count + 1
    } catch {
      return fail(members, error)
    }
  }

  /// Writes what the first members have in common: entries that were checked before cannot fail for their own fault. Empty when
  /// the first member is of another kind, or a bound may refuse some.
  private func appendPlain(_ members: ArraySlice<Member>) throws -> [Outcome] {
    guard bounds.areNone else { return [] }
    if case .append = members.first?.work { return try appendPlainStreams(members) }
    var counts: [Int] = []
    var rows: [EventRow] = []
    for member in members {
      guard case .entries(let more) = member.work else { break }
      counts.append(more.count)
      rows.append(contentsOf: more)
    }
    guard !rows.isEmpty else { return [] }
    var position = try Head.append(rows, bounds: bounds, db)
    return counts.map { count in
      defer { position += Int64(count) }
      return .success(position)
    }
  }

  private func appendPlainStreams(_ members: ArraySlice<Member>) throws -> [Outcome] {
    guard inline.areNone else { return [] }
    var appends: [PreparedAppend] = []
    for member in members {
      guard case .append(let append) = member.work else { break }
      appends.append(append)
    }
    return try StreamWriter.append(appends, bounds: bounds, inline: inline, db).map { $0.map { _ in 0 } }
  }

  /// A failure that is returned instead of thrown has written nothing.
  private func work(_ member: Member) throws -> Outcome {
    switch member.work {
    case .entries(let rows): return .success(try Head.append(rows, bounds: bounds, db))
    case .append(let append):
      return try StreamWriter.append([append], bounds: bounds, inline: inline, db)[0].map { _ in 0 }
    case .body(let turn):
      let ends = observer.ends
      let result = Result { try turn.run(db) }
      // Also when it threw: what was committed must not run again.
      let now = observer.ends
      if now.commits != ends.commits { throw Lost(wasCommitted: true) }
      if case .failure(let error as DatabaseError) = result, error.concernsEverybody, !db.isInsideTransaction {
        throw Everybody(error: error)
      }
      if now != ends || !db.isInsideTransaction { throw Lost(wasCommitted: false) }
      try result.get()
      return .success(0)
    }
  }

  /// The whole transaction was taken back by SQLite, for a reason that is no member's.
  private struct Everybody: Error {
    var error: DatabaseError
  }

  private func inTheOpen(_ member: Member) throws -> Outcome {
    do {
      return try work(member)
    } catch let everybody as Everybody {
      throw everybody.error
    } catch let lost as Lost {
      throw lost
    } catch {
      throw NeedsSavepoints()
    }
  }

  /// - Throws: ``Lost``, or an error that concerns the whole group.
  private func inSavepoint(_ member: Member) throws -> Outcome {
    try run("SAVEPOINT warren_member")
    let outcome: Outcome
    do {
      outcome = try work(member)
    } catch let everybody as Everybody {
      throw everybody.error
    } catch let lost as Lost {
      throw lost
    } catch {
      outcome = .failure(error)
      try run("ROLLBACK TO warren_member")
    }
    try run("RELEASE warren_member")
    return outcome
  }

  private func oneByOne(_ members: ArraySlice<Member>) -> Int {
    leaveTransaction()
    for member in members { alone(member) }
    return members.count
  }

  /// A transaction for one member.
  private func alone(_ member: Member) {
    do {
      try begin()
      let result = try work(member)
      Faults.reached(.beforeCommit)
      try endTransaction()
      Faults.reached(.afterCommit)
      member.settle(result)
    } catch let lost as Lost {
      leaveTransaction()
      member.settle(.failure(Self.endedByMember(committed: lost.wasCommitted)))
    } catch let everybody as Everybody {
      leaveTransaction()
      member.settle(.failure(Self.mapped(everybody.error)))
    } catch {
      leaveTransaction()
      // A body's own error goes to its caller as it is.
      switch member.work {
      case .body, .append: member.settle(.failure(error))
      case .entries: member.settle(.failure(Self.mapped(error)))
      }
    }
  }

  private func fail(_ members: ArraySlice<Member>, _ error: any Error) -> Int {
    leaveTransaction()
    let error = Self.mapped(error)
    for member in members { member.settle(.failure(error)) }
    return members.count
  }

  // MARK: The transaction

  private func begin() throws {
    leaveTransaction()
    began.withLock { $0 = .now }
    do {
      try run("BEGIN IMMEDIATE")
    } catch {
      throw Self.mapped(error)
    }
  }

  private func endTransaction() throws {
    do {
      try run("COMMIT")
    } catch let error as DatabaseError where error.resultCode == .SQLITE_IOERR {
      // Taken back here; but all of it may be in the write-ahead log, and count after a crash.
      var error = Self.mapped(error)
      error.mayHaveBeenRecorded = true
      throw error
    }
  }

  private func run(_ sql: String) throws { try db.cachedStatement(sql: sql).execute() }

  /// GRDB ends the process when a transaction is left open.
  private func leaveTransaction() {
    if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
  }

  private static func mapped(_ error: any Error) -> StoreError { StoreError(error, doing: "recording") }

  private static func endedByMember(committed: Bool) -> StoreError {
    StoreError(
      .transactionEnded,
      "the body ended the transaction by itself (COMMIT, ROLLBACK, or a conflict clause ROLLBACK): "
        + (committed ? "what it had written up to there is committed" : "nothing of it was kept")
        + ". Leave the transaction to the log",
      mayHaveBeenRecorded: committed)
  }
}
