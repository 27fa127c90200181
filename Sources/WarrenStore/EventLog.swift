public import GRDB
public import Logging
import Metrics
public import Warren
import WarrenSupport

/// Records events in the service's own SQLite file, in the same transaction as its data, and delivers them from there.
///
/// ```swift
/// let log = try EventLog(path: "accounts.sqlite", source: "accounts")
/// try await log.transact { db in
///   try user.insert(db)
///   try log.record(UserCreated(id: user.id, name: user.name), in: db)
/// }
/// ```
///
/// What is recorded when the transaction commits cannot be lost any more, and what is rolled back is never sent: ``relay(to:options:)``
/// delivers it, at least once, in order for each event type and key. The log has tables of its own, `warren_…`; all other
/// tables of the file belong to the user. One file may be used by several processes of one host.
public final class EventLog: Sendable, CustomStringConvertible {
  /// What differs from the defaults.
  public struct Options: Sendable {
    /// How durable a commit is when it returns.
    public var durability = Durability.full
    /// How long a write waits for the file's write lock while another process holds it, 0 to 10 min. 5 s. A busy callback in the
    /// configuration of a database of the user's own is left as it is.
    public var busyTimeout = Duration.seconds(5)
    /// How long ``EventLog/transact(_:)`` and publishes wait at most, 1 ms to 1 h. 30 s.
    public var timeout = Duration.seconds(30)
    /// SQL of a ``EventLog/transact(_:)`` or of a handler in the transaction is interrupted after this time: while it runs
    /// nobody else can write to the file. 1 ms to 1 h. 10 s. A body that computes without SQL cannot be stopped.
    public var longestTransaction = Duration.seconds(10)
    /// The largest body in bytes: recording a larger one is refused. 1 byte to 512 MiB. 16 MiB, as with the broker.
    public var maximumBodySize = 16 << 20
    /// Recording is refused when more events would wait for the broker; nil, the default, has no bound.
    public var maximumBacklogRows: Int?
    /// Recording is refused when more bytes would wait for the broker; nil, the default, has no bound.
    public var maximumBacklogBytes: Int?
    /// Recording is refused when the file's disk has less free space than this, in bytes, so that the service's own data has
    /// room; looked at once a second. Nil, the default, has no bound.
    public var minimumFreeDisk: Int?
    var writeAheadLog = WriteAheadLog.Limits()
    var metrics: (any MetricsFactory)?
    var abandonmentLook = Duration.seconds(30)
    /// How often a reader's gauges are set.
    var readerLook = Duration.seconds(10)

    /// The defaults.
    public init() {}
  }

  /// The database that the log is in. Use it for everything else in the file too: one per file and process.
  public let database: any DatabaseWriter
  /// The service that the events come from.
  public let source: ServiceName
  /// Tells two files apart.
  public let storeID: String
  let options: Options
  let logger: Logger
  let committer: Committer
  let wakeUp: WakeUp
  let confirms = ConfirmWaits()
  let metrics: LogMetrics
  let writeAheadLog: WriteAheadLog
  /// Projections and mappers that run inside appends.
  let inline = InlineReaders()
  let loader = StreamLoader()
  /// For readers in this process.
  let commits: CommitWaits
  /// For files with commits that a power cut could undo.
  let walSync: WALSync?
  private let diskFloor: DiskFloor?
  private let writerConnection: ObjectIdentifier
  private let knownTypes = Lock<Set<EventType>>([])
  private let observer: CommitObserver
  private let nextLook: Lock<ContinuousClock.Instant>

  /// Opens the file, and makes it where it is missing.
  /// - Throws: ``StoreError``, which says what is wrong with the file.
  public convenience init(
    path: String, source: ServiceName, options: Options = .init(), logger: Logger = Logger(label: "warren.store")
  ) throws(StoreError) {
    try options.validate()
    let database: DatabasePool
    do {
      var configuration = Configuration()
      configuration.label = "warren"
      configuration.busyMode = .timeout(options.busyTimeout / .seconds(1))
      database = try DatabasePool(path: path, configuration: configuration)
    } catch {
      throw StoreError(error, doing: "opening \(path)")
    }
    try self.init(database: database, source: source, options: options, logger: logger)
  }

  /// Puts a log into a database that the user has opened: a `DatabasePool` or `DatabaseQueue` on a file.
  ///
  /// Its writing connection is set to WAL and `synchronous=FULL`, and to a busy timeout if it has none.
  /// - Throws: ``StoreError``, which says what is wrong with the file.
  public init(
    database: any DatabaseWriter, source: ServiceName, options: Options = .init(),
    logger: Logger = Logger(label: "warren.store")
  ) throws(StoreError) {
    do throws(WarrenError) {
      try source.validate()
    } catch {
      throw StoreError(.invalidConfiguration, error.message)
    }
    try options.validate()
    var keepsBusyMode = false
    if case .callback = database.configuration.busyMode { keepsBusyMode = true }
    let wakeUp = WakeUp()
    let observer = CommitObserver(wakeUp)
    do {
      let (id, connection, isWeak, writeAheadLog) = try database.writeWithoutTransaction { db in
        try FileSettings.apply(
          options.durability, busyTimeout: options.busyTimeout, keepsBusyMode: keepsBusyMode, db)
        let id = try Schema.prepare(db, storeID: EventID().text)
        if options.durability != .full {
          // For good: no process can know when the last such commit is on the disk.
          try db.execute(sql: "INSERT OR REPLACE INTO warren_meta VALUES ('durability', ?)", arguments: ["normal"])
        }
        db.add(transactionObserver: observer, extent: .observerLifetime)
        let level = try String.fetchOne(db, sql: "SELECT value FROM warren_meta WHERE name = 'durability'")
        let writeAheadLog = WriteAheadLog(
          database, pageSize: try Int.fetchOne(db, sql: "PRAGMA main.page_size") ?? 4096,
          busyTimeout: keepsBusyMode ? nil : options.busyTimeout, limits: options.writeAheadLog
        ) { logger.info("\($0)") }
        try writeAheadLog.take(db)
        return (id, ObjectIdentifier(db), level != nil, writeAheadLog)
      }
      self.writeAheadLog = writeAheadLog
      storeID = id
      writerConnection = connection
      walSync = isWeak ? WALSync(path: database.path + "-wal") : nil
    } catch {
      throw StoreError(error, doing: "opening \(database.path)")
    }
    self.database = database
    self.source = source
    diskFloor = options.minimumFreeDisk.map { DiskFloor(path: database.path, bytes: $0) }
    self.options = options
    self.logger = logger
    self.wakeUp = wakeUp
    commits = CommitWaits(path: database.path, wakeUp: wakeUp)
    self.observer = observer
    nextLook = Lock(.now + options.abandonmentLook)
    metrics = LogMetrics(source: source, factory: options.metrics ?? MetricsSystem.factory)
    committer = Committer(
      database: database, observer: observer, metrics: metrics, timeout: options.timeout,
      longestTransaction: options.longestTransaction,
      bounds: Bounds(rows: options.maximumBacklogRows, bytes: options.maximumBacklogBytes), inline: inline)
  }

  deinit { database.asyncWriteWithoutTransaction { [writeAheadLog] db in writeAheadLog.leave(db) } }

  /// The text for messages and logs.
  public var description: String { "EventLog(\(database.path))" }

  /// The file.
  var path: String { database.path }

  var bounds: Bounds { committer.bounds }

  /// Refuses a handle of another file: what is recorded there would never be sent.
  func check(_ db: Database) throws(StoreError) {
    if ObjectIdentifier(db) == writerConnection { return }
    let found: String?
    do {
      found = try db.tableExists("warren_meta", in: "main") ? Schema.storeID(db) : nil
    } catch {
      throw StoreError(error, doing: "looking for the log's tables")
    }
    guard found == storeID else {
      throw StoreError(
        .wrongDatabase,
        "this database handle is not of the log's file \(database.path): record in a transaction of log.database or of log.transact"
      )
    }
  }

  /// False when only a new start of the process can help: a body or handler computes inside the transaction for longer than its
  /// SQL may take, cannot be stopped, and nobody else can write. Asks no database, so that it can be asked then.
  public var isLive: Bool { committer.stuckTransaction == nil }

  /// Says in the log that nobody relays: whoever forgets the relay sees nothing go wrong otherwise.
  func lookWhetherAnybodyRelays() {
    let isDue = nextLook.withLock { next in
      let now = ContinuousClock.now
      guard next <= now else { return false }
      next = now + options.abandonmentLook
      return true
    }
    guard isDue else { return }
    Task { [weak self] in
      guard let self, let status = try? await status(), status.isAbandoned else { return }
      for reason in status.reasons { logger.info("\(reason)", metadata: ["store": "\(path)"]) }
    }
  }

  /// Reads in a snapshot, which has to be a short one: see ``WriteAheadLog``.
  func read<R: Sendable>(
    doing what: String, _ body: @escaping @Sendable (Database) throws -> R
  ) async throws(StoreError) -> R {
    do {
      return try await writeAheadLog.readers.read { try await database.read(body) }
    } catch {
      throw StoreError(error, doing: what)
    }
  }

  func encode(_ event: any Event, _ options: PublishOptions) throws(StoreError) -> EventRow {
    try diskFloor?.check()
    do throws(WarrenError) {
      let encoded = try EncodedEvent(event, options: options, source: source)
      return try row(encoded)
    } catch {
      throw StoreError(.invalidEvent, error.message)
    }
  }

  private func row(_ encoded: EncodedEvent) throws(WarrenError) -> EventRow {
    let type = encoded.metadata.type
    if !knownTypes.withLock({ $0.contains(type) }) {
      try type.validate()
      knownTypes.withLock { _ = $0.insert(type) }
    }
    do {
      return try EventRow(encoded, maximumBodySize: self.options.maximumBodySize)
    } catch {
      throw WarrenError(.invalidMetadata, error.message)
    }
  }

  func rows(_ events: [EncodedEvent]) throws(StoreError) -> [EventRow] {
    try diskFloor?.check()
    var rows: [EventRow] = []
    rows.reserveCapacity(events.count)
    for event in events {
      do throws(WarrenError) {
        rows.append(try row(event))
      } catch {
        throw StoreError(.invalidEvent, error.message)
      }
    }
    return rows
  }
}
