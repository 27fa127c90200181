import GRDB
import Warren
import WarrenSupport

/// One transaction for several members, a result for each. Nobody gets one before COMMIT has returned.
///
/// A member's failure takes back its own savepoint only. One that destroys the transaction (a ROLLBACK conflict clause, a raw
/// COMMIT, a deferred foreign key that fails at the end) must not take its neighbours with it: all run again, one by one.
struct GroupCommit {
  let db: Database
  let bounds: Bounds
  /// When the transaction that runs began: who watches over it interrupts one that takes too long.
  let began: Lock<ContinuousClock.Instant?>

  /// The transaction is gone. `wasCommitted` when a member committed it.
  private struct Lost: Error {
    var wasCommitted: Bool
  }
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
    var outcomes: [Outcome] = []
    let mark: Int64
    do {
      try begin()
      mark = try raiseMark(for: members)
    } catch {
      return fail(members, error)
    }
    while outcomes.count < members.count {
      let rest = members.dropFirst(outcomes.count)
      do {
        let plain = try appendPlain(rest)
        outcomes.append(contentsOf: plain)
        if plain.isEmpty, let member = rest.first { outcomes.append(try inSavepoint(member, mark: mark)) }
      } catch let lost as Lost {
        guard lost.wasCommitted else { return oneByOne(members) }
        for (member, outcome) in zip(members, outcomes) { member.settle(outcome) }
        members[members.startIndex + outcomes.count].settle(.failure(Self.endedByMember(committed: true)))
        return outcomes.count + 1
      } catch {
        return fail(members, error)
      }
    }
    do {
      Faults.reached(.beforeCommit)
      try run("COMMIT")
      Faults.reached(.afterCommit)
    } catch let error as DatabaseError where error.concernsEverybody {
      return fail(members, error)
    } catch {
      return oneByOne(members)
    }
    for (member, outcome) in zip(members, outcomes) { member.settle(outcome) }
    return members.count
  }

  /// Writes what the first members have in common: entries that were checked before cannot fail for their own fault, so they
  /// need no savepoints. SQLite allocates 64 KiB for each, which costs more than the entry. Empty when the first member is of
  /// another kind, or a bound may refuse some.
  private func appendPlain(_ members: ArraySlice<Member>) throws -> [Outcome] {
    guard bounds.areNone else { return [] }
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

  /// - Throws: ``Lost``, or an error that concerns the whole group.
  private func inSavepoint(_ member: Member, mark: Int64) throws -> Outcome {
    switch member.work {
    case .entries(let rows):
      try run("SAVEPOINT warren_member")
      do {
        let position = try Head.append(rows, bounds: bounds, db)
        try run("RELEASE warren_member")
        return .success(position)
      } catch let error as DatabaseError {
        throw error
      } catch {
        try run("ROLLBACK TO warren_member")
        try run("RELEASE warren_member")
        return .failure(error)
      }
    case .body(let turn):
      try run("SAVEPOINT warren_member")
      let outcome: Outcome
      do {
        try turn.run(db)
        outcome = .success(0)
      } catch {
        if let error = error as? DatabaseError, error.concernsEverybody, !db.isInsideTransaction { throw error }
        outcome = .failure(error)
      }
      do {
        guard db.isInsideTransaction else { throw Lost(wasCommitted: false) }
        if case .failure = outcome { try run("ROLLBACK TO warren_member") }
        try run("RELEASE warren_member")
      } catch {
        if let error = error as? DatabaseError, error.concernsEverybody { throw error }
        leaveTransaction()
        throw Lost(wasCommitted: try currentMark() == mark)
      }
      return outcome
    }
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
      switch member.work {
      case .entries(let rows):
        let position = try Head.append(rows, bounds: bounds, db)
        Faults.reached(.beforeCommit)
        try run("COMMIT")
        Faults.reached(.afterCommit)
        member.settle(.success(position))
      case .body(let turn):
        let mark = try raiseMark(for: [member])
        do {
          try run("SAVEPOINT warren_member")
          try turn.run(db)
          do {
            try run("RELEASE warren_member")
          } catch let error as DatabaseError where error.resultCode == .SQLITE_ERROR {
            leaveTransaction()
            throw Self.endedByMember(committed: try currentMark() == mark)
          }
          Faults.reached(.beforeCommit)
          try run("COMMIT")
          Faults.reached(.afterCommit)
          member.settle(.success(0))
        } catch {
          leaveTransaction()
          // Thrown behind a COMMIT of its own.
          let isCommitted = (try? currentMark()) == mark
          member.settle(.failure(isCommitted ? Self.endedByMember(committed: true) : error))
        }
      }
    } catch {
      leaveTransaction()
      member.settle(.failure(Self.mapped(error)))
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
    try run("BEGIN IMMEDIATE")
  }

  private func run(_ sql: String) throws { try db.cachedStatement(sql: sql).execute() }

  /// GRDB ends the process when a transaction is left open.
  private func leaveTransaction() {
    if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
  }

  /// A number that is in the file exactly when this transaction was committed, which is the only way to learn that after a
  /// member has ended it.
  private func raiseMark(for members: ArraySlice<Member>) throws -> Int64 {
    let hasBody = members.contains { if case .body = $0.work { true } else { false } }
    guard hasBody else { return -1 }
    _ = try RawStatement("UPDATE warren_head SET groups = groups + 1", db).step()
    return try currentMark()
  }

  private func currentMark() throws -> Int64 {
    let statement = try RawStatement("SELECT groups FROM warren_head", db)
    guard try statement.step() else {
      throw StoreError(.corrupted, "the table warren_head is empty: restore the file from a copy")
    }
    defer { statement.reset() }
    return statement.int(0)
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
