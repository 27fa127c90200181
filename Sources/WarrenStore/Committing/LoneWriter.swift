import GRDB

/// A writing connection of the committer's own, for callers that commit on their own thread: nobody else uses it, so nobody
/// waits for it, and it never waits for another one's write lock.
final class LoneWriter: Sendable {
  private let queue: DatabaseQueue
  private let writeAheadLog: WriteAheadLog
  private let wakeUp: WakeUp

  /// Beside a connection that is set up already.
  init(
    beside database: any DatabaseWriter, _ durability: Durability, _ wakeUp: WakeUp, _ writeAheadLog: WriteAheadLog
  ) throws {
    var configuration = database.configuration
    configuration.busyMode = .immediateError
    queue = try DatabaseQueue(path: database.path, configuration: configuration)
    self.wakeUp = wakeUp
    self.writeAheadLog = writeAheadLog
    try queue.writeWithoutTransaction { db in
      try FileSettings.apply(durability, busyTimeout: .zero, keepsBusyMode: false, db)
      try writeAheadLog.take(db)
    }
  }

  // At once: whoever lets go of a log may want the file next.
  deinit {
    queue.writeWithoutTransaction { db in writeAheadLog.leave(db) }
    try? queue.close()
  }

  /// Runs `body` on this thread. True is what it returns when it has committed: no observer hears of that here.
  func commit(_ body: (Database) -> Bool) -> Bool {
    let isDone = queue.writeWithoutTransaction(body)
    if isDone { wakeUp.call() }
    return isDone
  }
}
