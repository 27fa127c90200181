import GRDB

/// A writing connection of the committer's own, for callers that commit on their own thread: nobody else uses it, so nobody
/// waits for it, and it never waits for another one's write lock.
final class LoneWriter: Sendable {
  private let queue: DatabaseQueue
  private let writeAheadLog: WriteAheadLog
  private let observer: CommitObserver

  /// Beside a connection that is set up already.
  init(
    beside database: any DatabaseWriter, _ durability: Durability, _ wakeUp: WakeUp, _ writeAheadLog: WriteAheadLog
  ) throws {
    var configuration = database.configuration
    configuration.busyMode = .immediateError
    queue = try DatabaseQueue(path: database.path, configuration: configuration)
    observer = CommitObserver(wakeUp)
    self.writeAheadLog = writeAheadLog
    try queue.writeWithoutTransaction { db in
      try FileSettings.apply(durability, busyTimeout: .zero, keepsBusyMode: false, db)
      try writeAheadLog.take(db)
      db.add(transactionObserver: observer, extent: .observerLifetime)
    }
  }

  deinit { queue.asyncWriteWithoutTransaction { [writeAheadLog] db in writeAheadLog.leave(db) } }

  /// On this thread.
  func use<R>(_ body: (Database) -> R) -> R { queue.writeWithoutTransaction(body) }
}
