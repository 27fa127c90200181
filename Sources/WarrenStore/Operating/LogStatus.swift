import GRDB
public import Warren

/// How a log stands: what waits, what is held and why, and who delivers.
public struct LogStatus: Sendable, Hashable {
  /// The last position given.
  public var head: LogPosition
  /// Everything up to here is confirmed or held.
  public var checkpoint: LogPosition
  /// Events that wait for their first try, held ones not included.
  public var backlogRows: Int
  /// Events that have left the backlog since the file was made, delivered or held.
  public var passedRows: Int
  /// Bytes of body and headers of the backlog.
  public var backlogBytes: Int
  /// How long the oldest event of the backlog has waited; nil without a backlog.
  public var oldestAge: Duration?
  /// Held events by the reason of the oldest in their lane: `unroutable`, `congested`, `exchange`, `refused`.
  public var held: [String: Int]
  /// Events that are not due yet.
  public var scheduled: Int
  /// Events that a bound or an operator has removed.
  public var dropped: Int
  /// The process whose relay delivers; nil when there is none. 0 when it has not said.
  public var relayProcess: Int32?
  /// How long ago that relay last got on or had nothing to do; nil without one, or when it has not said.
  public var relaySilence: Duration?
  /// The size of SQLite's write-ahead log in bytes.
  public var walBytes: Int
  /// The size up to which it is brought back when it has grown beyond; 64 MiB.
  public var walLimit: Int

  /// How long a body or handler of this process has been computing inside the transaction, when that is longer than its SQL may
  /// take; see ``EventLog/isLive``.
  public var stuckTransaction: Duration?

  /// True when events have waited for half a minute and nothing delivers them: no relay runs, or it is frozen.
  public var isAbandoned: Bool {
    guard let oldestAge, oldestAge > .seconds(30) else { return false }
    return relayProcess == nil || (relaySilence ?? .zero) > .seconds(30)
  }

  /// True when the write-ahead log could not begin anew for long, because some program reads the file without an end. Nothing
  /// stops; it costs disk.
  public var isWALStuck: Bool { walBytes > 2 * walLimit }

  /// True when all is well, as far as the log can tell.
  public var isHealthy: Bool { reasons.isEmpty }

  /// What is wrong, in words that say what to do; empty when all is well. A broker that is away is the broker's health and
  /// not the log's, and held events are their own.
  public var reasons: [String] {
    var reasons: [String] = []
    if isAbandoned {
      let age = Int((oldestAge ?? .zero) / .seconds(1))
      let silence = Int((relaySilence ?? .zero) / .seconds(1))
      reasons.append(
        relayProcess.map {
          "events have waited for \(age) s, and the relay of process \($0) has not moved for \(silence) s"
        }
          ?? "events have waited for \(age) s and nobody relays: run log.relay(to:), or warrenctl relay")
    }
    if let stuckTransaction {
      reasons.append(
        "a body or handler has been computing inside the transaction for \(Int(stuckTransaction / .seconds(1))) s, nobody can write and it cannot be stopped: start the process anew"
      )
    }
    if isWALStuck {
      reasons.append(
        "the write-ahead log has \(walBytes) bytes: some program has been reading the file for a long time, end it")
    }
    return reasons
  }
}

extension EventLog {
  /// How the log stands, for health checks and operators.
  /// - Throws: ``StoreError``.
  public func status() async throws -> LogStatus {
    let now = Int64(wallClockMilliseconds())
    var status = try await read(doing: "reading the log's status") { try Self.status($0, now: now) }
    if let holder = RelayLock.holder(of: path) {
      status.relayProcess = holder.process
      status.relaySilence = holder.silence.map { .milliseconds($0) }
    }
    status.walBytes = fileSize(path + "-wal")
    status.stuckTransaction = committer.stuckTransaction
    status.walLimit = options.writeAheadLog.bytes
    return status
  }

  static func status(_ db: Database, now: Int64) throws -> LogStatus {
    func int(_ sql: String) throws -> Int64 { try Int64.fetchOne(db, sql: sql) ?? 0 }
    let relay = "FROM warren_readers WHERE name = 'relay'"
    let checkpoint = try int("SELECT position \(relay)")
    var held: [String: Int] = [:]
    let causes = "SELECT cause, count(*) AS n FROM warren_held WHERE reason <> 'discarded' GROUP BY cause"
    for row in try Row.fetchAll(db, sql: causes) { held[row["cause"]] = row["n"] }
    let oldest = try Int64.fetchOne(
      db,
      sql: """
        SELECT min(recorded) FROM (
          SELECT recorded FROM (SELECT recorded FROM warren_outbox WHERE position > ?1 ORDER BY position LIMIT 1)
          UNION ALL SELECT recorded FROM
            (SELECT recorded FROM warren_events INDEXED BY warren_events_public
             WHERE position > ?1 AND exchange IS NOT NULL ORDER BY position LIMIT 1))
        """, arguments: [checkpoint])
    return LogStatus(
      head: LogPosition(rawValue: try int("SELECT position FROM warren_head")),
      checkpoint: LogPosition(rawValue: checkpoint),
      backlogRows: Int(try int("SELECT (SELECT rows FROM warren_head) - (SELECT rows \(relay))")),
      passedRows: Int(try int("SELECT rows \(relay)")),
      backlogBytes: Int(try int("SELECT (SELECT bytes FROM warren_head) - (SELECT bytes \(relay))")),
      oldestAge: oldest.map { .milliseconds(max(0, now - $0)) }, held: held,
      scheduled: Int(try int("SELECT count(*) FROM warren_scheduled")),
      dropped: Int(try int("SELECT coalesce(sum(count), 0) FROM warren_dropped")), relayProcess: nil, relaySilence: nil,
      walBytes: 0, walLimit: 0)
  }
}
