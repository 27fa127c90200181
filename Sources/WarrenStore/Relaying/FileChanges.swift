import GRDB
import GRDBSQLite
import WarrenSupport

/// Sees the commits of other processes: `PRAGMA data_version` on a connection of its own that does nothing else.
/// Notifications about the file would come before the commit can be seen, and so miss it.
///
/// It is asked forty times a second for nothing, with cold caches each time, and that is most of what an idle process does. So
/// it goes straight to SQLite, past queues and statement caches, and asks only when the head of the index that all processes
/// share in memory is another one (SQLite, "WAL-mode File Format", §2.1): every commit changes it.
final class FileChanges: Sendable {
  private struct State {
    var connection: OpaquePointer?
    var statement: OpaquePointer?
    var index: UnsafeMutableRawPointer?
    var head = Head()
    var version: Int64 = -1
  }
  /// Its version, its counter of transactions, the last frame, and the salts, which a log that begins anew changes.
  private struct Head: Equatable {
    var format: UInt32 = 0
    var changes: UInt32 = 0
    var frames: UInt32 = 0
    var salts: UInt64 = 0

    init() {}
    init(_ index: UnsafeRawPointer) {
      format = index.load(fromByteOffset: 0, as: UInt32.self)
      changes = index.load(fromByteOffset: 8, as: UInt32.self)
      frames = index.load(fromByteOffset: 16, as: UInt32.self)
      salts = index.load(fromByteOffset: 32, as: UInt64.self)
    }
  }
  /// The only one there is.
  private static let knownFormat: UInt32 = 3_007_000
  private let state: Lock<State>

  init(path: String) throws(StoreError) {
    var (connection, statement): (OpaquePointer?, OpaquePointer?)
    var code = sqlite3_open_v2(path, &connection, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nil)
    if code == SQLITE_OK { code = sqlite3_prepare_v2(connection, "PRAGMA data_version", -1, &statement, nil) }
    let text = String(cString: sqlite3_errmsg(connection))
    state = Lock(State(connection: connection, statement: statement))
    guard code == SQLITE_OK else {
      let error = DatabaseError(resultCode: ResultCode(rawValue: code), message: text)
      throw StoreError(error, doing: "opening \(path) to watch it")
    }
  }

  deinit {
    state.withLock { state in
      sqlite3_finalize(state.statement)
      sqlite3_close_v2(state.connection)
    }
  }

  /// True when something was committed since the last call, by any connection, and when SQLite cannot tell.
  func look() -> Bool {
    state.withLock { state in
      if let index = state.index {
        // Read before SQLite is asked: what comes in between shows the next time.
        let head = Head(index)
        if head == state.head, head.format == Self.knownFormat { return false }
        state.head = head
      }
      defer { sqlite3_reset(state.statement) }
      guard sqlite3_step(state.statement) == SQLITE_ROW else { return true }
      // It is mapped since the step.
      if state.index == nil { state.index = Self.index(state.connection) }
      let version = sqlite3_column_int64(state.statement, 0)
      defer { state.version = version }
      return state.version != version
    }
  }

  /// Where this connection has mapped the index, until it is closed; nil when SQLite does not say.
  private static func index(_ connection: OpaquePointer?) -> UnsafeMutableRawPointer? {
    var file: UnsafeMutablePointer<sqlite3_file>?
    guard sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK, let file else {
      return nil
    }
    var index: UnsafeMutableRawPointer?
    // Without the flag to make it larger, it gives what is there.
    guard let map = file.pointee.pMethods?.pointee.xShmMap, map(file, 0, 32 << 10, 0, &index) == SQLITE_OK else {
      return nil
    }
    return index
  }
}
