import GRDB
import GRDBSQLite
import Warren
import WarrenSupport

/// Keeps SQLite's write-ahead log small: it must be copied into the database before SQLite can begin it anew.
///
/// Only one process of a file does that at a time, the one that holds the relay's lock: SQLite before 3.51.3 can damage a file
/// when two copy while a third commits. Where nobody relays, whoever commits takes the lock for the moment of the copy, so the
/// log does not grow without a relay either. SQLite's automatic checkpoint is off, and its place is taken by the hook that it
/// uses itself.
///
/// Copying alone does not help while one reader or another always looks at a part of the log. So when it has grown too large,
/// the readers of this ``EventLog`` pause for a moment. Readers of strangers cannot be paused; they cost disk, and status
/// says so, but nobody who writes waits for them.
final class WriteAheadLog: Sendable {
  struct Limits: Sendable {
    /// Pages in the log at which it is copied, as in SQLite.
    var pages = 1000
    /// Bytes at which readers pause, and to which the file is cut when it has been larger.
    var bytes = 64 << 20
  }
  private struct State {
    var relays = 0
    var nextLook = ContinuousClock.now
    var isPausing = false
    var nextPause = ContinuousClock.now
    var copies = 0
    var restarts = 0
  }
  let readers = ReadGate()
  private let path: String
  private let limits: Limits
  private let pageSize: Int
  /// Milliseconds; nil with a busy callback of the user's own.
  private let busyTimeout: Int32?
  private let logger: @Sendable (String) -> Void
  private weak let database: (any DatabaseWriter)?
  private let state = Lock(State())

  init(
    _ database: any DatabaseWriter, pageSize: Int, busyTimeout: Duration?, limits: Limits,
    logger: @escaping @Sendable (String) -> Void
  ) {
    self.database = database
    self.busyTimeout = busyTimeout.map { Int32($0 / .milliseconds(1)) }
    path = database.path
    self.pageSize = pageSize
    self.limits = limits
    self.logger = logger
  }

  /// How often this process has copied something.
  var copies: Int { state.withLock { $0.copies } }

  /// How often readers were paused, and the log was copied whole.
  var restarts: Int { state.withLock { $0.restarts } }

  /// Whether a relay of this log holds the lock.
  func relays(_ relays: Bool) { state.withLock { $0.relays += relays ? 1 : -1 } }

  // MARK: The hook

  /// Takes the place of the automatic checkpoint, on the writing connection.
  func take(_ db: Database) throws {
    try db.execute(sql: "PRAGMA main.journal_size_limit = \(limits.bytes)")
    // Given back by `leave`.
    let context = Unmanaged.passRetained(self).toOpaque()
    _ = sqlite3_wal_hook(
      db.sqliteConnection,
      { context, connection, schema, pages in
        guard let context, let connection else { return SQLITE_OK }
        Unmanaged<WriteAheadLog>.fromOpaque(context).takeUnretainedValue().committed(connection, schema, Int(pages))
        return SQLITE_OK
      }, context)
  }

  /// SQLite does it by itself again.
  func leave(_ db: Database) {
    if let connection = db.sqliteConnection { sqlite3_wal_autocheckpoint(connection, 1000) }
    Unmanaged.passUnretained(self).release()
  }

  private func committed(_ connection: OpaquePointer, _ schema: UnsafePointer<CChar>?, _ pages: Int) {
    guard pages >= limits.pages else { return }
    guard let schema, String(cString: schema) == "main" else {
      // A file that the user has attached.
      _ = sqlite3_wal_checkpoint_v2(connection, schema, SQLITE_CHECKPOINT_PASSIVE, nil, nil)
      return
    }
    copy(connection)
  }

  /// Copies what can be copied now, if it is our turn.
  private func copy(_ connection: OpaquePointer) {
    guard let right = right() else { return }
    var (inLog, copied) = (Int32(-1), Int32(-1))
    _ = sqlite3_wal_checkpoint_v2(connection, "main", SQLITE_CHECKPOINT_PASSIVE, &inLog, &copied)
    right.end()
    if copied > 0 { state.withLock { $0.copies += 1 } }
    guard Int(inLog) * pageSize > limits.bytes else { return }
    // Even when all is copied: as long as somebody reads from the log it is not begun anew.
    pauseReaders()
  }

  // MARK: Whose turn it is

  private enum Right {
    case own
    case borrowed(RelayLock)
    func end() { if case .borrowed(let lock) = self { lock.release() } }
  }

  private func right() -> Right? {
    let now = ContinuousClock.now
    let (relays, isDue) = state.withLock { state in
      defer { if state.nextLook <= now { state.nextLook = now + .milliseconds(100) } }
      return (state.relays > 0, state.nextLook <= now)
    }
    if relays { return .own }
    guard isDue else { return nil }
    if let lock = try? RelayLock(of: path) { return .borrowed(lock) }
    // A relay that is frozen copies nothing.
    guard let holder = RelayLock.holder(of: path), holder.isFrozen else { return nil }
    return .own
  }

  /// For commits of other processes, which leave the copying to the one that relays: that may commit nothing itself.
  func copyForOthers() {
    guard fileSize(path + "-wal") > 2 * limits.pages * pageSize else { return }
    let now = ContinuousClock.now
    let isDue = state.withLock { state in
      guard state.nextLook <= now else { return false }
      state.nextLook = now + .seconds(1)
      return true
    }
    guard isDue else { return }
    database?.asyncWriteWithoutTransaction { db in
      if let connection = db.sqliteConnection { self.copy(connection) }
    }
  }

  // MARK: Pausing

  private func pauseReaders() {
    let now = ContinuousClock.now
    let isDue = state.withLock { state in
      guard !state.isPausing, state.nextPause <= now else { return false }
      state.isPausing = true
      state.nextPause = now + .seconds(1)
      return true
    }
    guard isDue else { return }
    Task {
      await readers.pause(atMost: .seconds(1))
      // Somebody may hold the writing connection for long.
      let opener = Task {
        try? await Task.sleep(for: .seconds(1))
        readers.goOn()
      }
      let isWhole = await withCheckedContinuation { continuation in
        guard let database else { return continuation.resume(returning: true) }
        database.asyncWriteWithoutTransaction { db in continuation.resume(returning: self.restart(db)) }
      }
      opener.cancel()
      readers.goOn()
      state.withLock { state in
        state.isPausing = false
        if isWhole { state.restarts += 1 }
      }
      if !isWhole {
        logger(
          "the write-ahead log has \(fileSize(path + "-wal")) bytes and cannot begin anew: some program has been reading the file for a long time"
        )
      }
    }
  }

  /// Copies all and begins the log anew; false when a reader does not let it. Does not wait for one: the busy timeout would
  /// be a time in which nobody can write.
  private func restart(_ db: Database) -> Bool {
    guard let connection = db.sqliteConnection, let right = right() else { return true }
    defer { right.end() }
    if busyTimeout != nil { sqlite3_busy_timeout(connection, 0) }
    defer { if let busyTimeout { sqlite3_busy_timeout(connection, busyTimeout) } }
    // Behind a whole copy the next writer begins anew by itself, when nobody reads.
    let mode = busyTimeout == nil ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART
    var (inLog, copied) = (Int32(-1), Int32(-1))
    let status = sqlite3_wal_checkpoint_v2(connection, "main", mode, &inLog, &copied)
    return status == SQLITE_OK && inLog == copied
  }
}
