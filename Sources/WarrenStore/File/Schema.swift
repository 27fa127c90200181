import GRDB

/// The tables of a log. GRDB's migrator is not used: its table belongs to the user, and a user's migrator may erase a
/// database that it does not recognise.
enum Schema {
  /// Raised by every change that an older Warren could not live with.
  static let version = 1

  /// What every entry has, in the order in which ``EventRow`` writes and reads it.
  private static let eventColumns = """
    position INTEGER PRIMARY KEY,
    exchange TEXT,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    own_id INTEGER NOT NULL,
    source TEXT,
    time INTEGER,
    recorded INTEGER NOT NULL,
    key TEXT,
    subject TEXT,
    correlation_id TEXT,
    causation_id TEXT,
    traceparent TEXT,
    tracestate TEXT,
    baggage TEXT,
    content_type TEXT,
    routing_key TEXT,
    expiry INTEGER,
    headers TEXT,
    body BLOB NOT NULL
    """

  private static let statements = [
    "CREATE TABLE warren_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    // One row. `position` is the last one given; `rows` and `bytes` count the public entries ever recorded, so that the
    // backlog is a subtraction.
    """
    CREATE TABLE warren_head (
      only INTEGER PRIMARY KEY CHECK (only = 1), position INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL)
    """,
    "INSERT INTO warren_head VALUES (1, 0, 0, 0)",
    // `exchange` null: the event is private and is not published.
    """
    CREATE TABLE warren_events (
    \(eventColumns),
    stream TEXT NOT NULL, version INTEGER NOT NULL, UNIQUE (stream, version))
    """,
    "CREATE TABLE warren_outbox (\n\(eventColumns))",
    // `position` is the order of scheduling here, and not one of the log.
    "CREATE TABLE warren_scheduled (\n\(eventColumns),\ndue INTEGER NOT NULL)",
    "CREATE INDEX warren_scheduled_due ON warren_scheduled (due)",
    "CREATE UNIQUE INDEX warren_scheduled_id ON warren_scheduled (id)",
    // Entries behind the relay's checkpoint that are not confirmed. `cause`: the reason of the lane's oldest entry.
    """
    CREATE TABLE warren_held (
      position INTEGER PRIMARY KEY, exchange TEXT NOT NULL, key TEXT, reason TEXT NOT NULL, cause TEXT NOT NULL,
      text TEXT NOT NULL, since INTEGER NOT NULL, next_try INTEGER)
    """,
    "CREATE INDEX warren_held_lane ON warren_held (exchange, key, position)",
    // What a bound has removed, or an operator.
    """
    CREATE TABLE warren_dropped (
      type TEXT NOT NULL, reason TEXT NOT NULL, day INTEGER NOT NULL, count INTEGER NOT NULL, first_position INTEGER NOT NULL,
      last_position INTEGER NOT NULL, PRIMARY KEY (type, reason, day)) WITHOUT ROWID
    """,
    """
    CREATE TABLE warren_readers (
      name TEXT PRIMARY KEY, position INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
      moved INTEGER NOT NULL) WITHOUT ROWID
    """,
    "INSERT INTO warren_readers VALUES ('relay', 0, 0, 0, 0)",
    """
    CREATE TABLE warren_inbox (
      queue TEXT NOT NULL, source TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, hash BLOB, at INTEGER NOT NULL,
      PRIMARY KEY (queue, source, type, id)) WITHOUT ROWID
    """,
    "CREATE INDEX warren_inbox_at ON warren_inbox (queue, at)",
    "CREATE TABLE warren_inbox_pruned (queue TEXT PRIMARY KEY, through INTEGER NOT NULL) WITHOUT ROWID",
  ]

  /// Makes the tables where they are missing and returns the id of the file's log.
  static func prepare(_ db: Database, storeID: String) throws -> String {
    var id = ""
    try db.inTransaction(.immediate) {
      if try !db.tableExists("warren_meta") {
        for statement in statements { try db.execute(sql: statement) }
        try db.execute(
          sql: "INSERT INTO warren_meta VALUES ('version', ?), ('store', ?), ('held', 0)",
          arguments: [version, storeID])
      }
      try check(db)
      if try !db.tableExists("warren_retaining") {
        for statement in eventStore + ParkedRows.schema { try db.execute(sql: statement) }
      }
      id = try Self.storeID(db) ?? ""
      return .commit
    }
    return id
  }

  static func storeID(_ db: Database) throws -> String? {
    try String.fetchOne(db, sql: "SELECT value FROM main.warren_meta WHERE name = 'store'")
  }

  private static func check(_ db: Database) throws {
    guard let found = try Int.fetchOne(db, sql: "SELECT value FROM warren_meta WHERE name = 'version'") else {
      throw StoreError(.corrupted, "the table warren_meta has no version: restore the file from a copy")
    }
    guard found <= version else {
      throw StoreError(
        .newerSchema,
        "the log has schema version \(found) and this Warren knows versions up to \(version): use the newer Warren that wrote it"
      )
    }
  }
}
