public import GRDB
public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

extension EventLog {
  /// Records an event in the transaction that `db` is in: it is delivered when that commits, and never when it is rolled back.
  ///
  /// Inside a handler, correlation and causation come from the event that is handled. `db` may be the handle of
  /// ``transact(_:)``, of a write to ``database``, or of another connection to the same file.
  /// - Throws: ``StoreError``: the event is too large or invalid, `db` is of another file, a bound is reached. The transaction
  ///   can go on.
  @discardableResult
  public func record<E: Event>(
    _ event: E, options: PublishOptions = .init(), in db: Database
  ) throws(StoreError) -> Receipt {
    do {
      try ProjectionRun.check()
      let (position, row) = try LogSpans.recording {
        let row = try encode(event, options)
        try check(db)
        return (try append([row], db), row)
      }
      return .recorded(row.event.metadata.id ?? EventID(), LogPosition(rawValue: position))
    } catch {
      throw StoreError(error, doing: "recording")
    }
  }

  /// Records an event in a transaction of its own and returns when it is durable.
  /// - Throws: ``StoreError``, which says whether it may have been recorded all the same.
  @discardableResult
  public func record<E: Event>(_ event: E, options: PublishOptions = .init()) async throws(StoreError) -> Receipt {
    let (position, row) = try await stored {
      try await LogSpans.recording {
        let row = try encode(event, options)
        return (try await committer.append([row]), row)
      }
    }
    return .recorded(row.event.metadata.id ?? EventID(), LogPosition(rawValue: position))
  }

  /// Runs `body` in a transaction, together with those of other callers, and returns when it is durable.
  ///
  /// One sync of the disk serves all that are under way, so many callers at once are much faster than one after the other.
  /// `body` must do nothing but use the database: it runs again when a neighbour destroys the transaction that they share.
  /// It must not end the transaction. The caller's task-local values are set while it runs.
  ///
  /// Ends by ``Options/timeout``, and early when the task is cancelled: a body that has not begun then does not run.
  /// - Throws: what `body` throws, after its writes were taken back; ``StoreError``, which says whether the writes may have
  ///   been kept.
  public func transact<R: Sendable>(_ body: @escaping @Sendable (Database) throws -> R) async throws -> R {
    defer { lookWhetherAnybodyRelays() }
    return try await committer.transact(body)
  }

  /// Records an event now that is delivered at `notBefore` or soon after, whether the broker is up now or then. It gets its
  /// position when it is due. Cancel it by its id until then.
  /// - Throws: ``StoreError``, as ``record(_:options:in:)``; also when an event with this id is scheduled already.
  @discardableResult
  public func schedule<E: Event>(
    _ event: E, notBefore: Date, options: PublishOptions = .init(), in db: Database
  ) throws(StoreError) -> EventID {
    let row: EventRow
    do {
      (_, row) = try LogSpans.recording {
        let row = try encode(event, options)
        try check(db)
        try ScheduledEntries.insert(row, due: notBefore.milliseconds, db)
        return ((), row)
      }
    } catch {
      throw StoreError(error, doing: "scheduling")
    }
    return row.event.metadata.id ?? EventID()
  }

  /// Takes back a scheduled event. False when there is none with this id: it was never scheduled, or was due already.
  /// - Throws: ``StoreError``.
  @discardableResult
  public func cancelScheduled(_ id: EventID, in db: Database) throws(StoreError) -> Bool {
    try check(db)
    do {
      return try ScheduledEntries.cancel(id, db)
    } catch {
      throw StoreError(error, doing: "cancelling a scheduled event")
    }
  }

  func append(_ rows: [EventRow], _ db: Database) throws(StoreError) -> Int64 {
    guard db.isInsideTransaction else {
      throw StoreError(.database, "recording needs a transaction: use log.transact or database.write")
    }
    do {
      return try Head.append(rows, bounds: bounds, db)
    } catch {
      throw StoreError(error, doing: "recording")
    }
  }

  func stored<R>(_ body: () async throws -> R) async throws(StoreError) -> R {
    defer { lookWhetherAnybodyRelays() }
    do {
      return try await metrics.recording(body)
    } catch {
      throw StoreError(error, doing: "recording")
    }
  }
}

extension EventLog {
  /// Records events that are encoded already, all or none, and returns when they are durable.
  public func record(encoded events: [EncodedEvent]) async throws -> [LogPosition] {
    guard !events.isEmpty else { return [] }
    let rows = try rows(events)
    let first = try await stored { try await self.committer.append(rows) }
    return (0..<Int64(events.count)).map { LogPosition(rawValue: first + $0) }
  }
}
