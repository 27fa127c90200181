import GRDB

/// How durable a commit is when it returns.
public enum Durability: String, Sendable, CaseIterable {
  /// Every commit is on the disk before it returns (SQLite's `synchronous=FULL`). The default.
  case full
  /// A power cut or a crash of the operating system may undo the last commits (SQLite's `synchronous=NORMAL`); a crash of the
  /// process may not. The relay syncs before it sends, so nothing is published that such a crash undoes.
  case normal
}

/// The settings of the writing connection that the log's promises stand on: set after opening, because GRDB sets others,
/// and read back.
enum FileSettings {
  static func apply(_ durability: Durability, busyTimeout: Duration, keepsBusyMode: Bool, _ db: Database) throws {
    let mode = try String.fetchOne(db, sql: "PRAGMA main.journal_mode = WAL")
    guard mode?.lowercased() == "wal" else {
      throw StoreError(
        .unsafeSettings,
        "the file's journal mode is \(mode ?? "unknown") and cannot become WAL: use a file on a local disk, not in memory"
      )
    }
    let wanted = durability == .full ? 2 : 1
    try db.execute(sql: "PRAGMA main.synchronous = \(wanted)")
    let level = try Int.fetchOne(db, sql: "PRAGMA main.synchronous") ?? -1
    // EXTRA, which a user may have chosen, is more than FULL.
    guard level == wanted else {
      throw StoreError(.unsafeSettings, "SQLite's synchronous level is \(level) after it was set to \(wanted)")
    }
    guard !keepsBusyMode else { return }
    let milliseconds = Int(busyTimeout / .milliseconds(1))
    try db.execute(sql: "PRAGMA busy_timeout = \(milliseconds)")
    guard try Int.fetchOne(db, sql: "PRAGMA busy_timeout") == milliseconds else {
      throw StoreError(.unsafeSettings, "SQLite does not keep a busy timeout of \(milliseconds) ms")
    }
  }
}
