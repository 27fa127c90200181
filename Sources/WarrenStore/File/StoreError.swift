public import Warren

/// The log's file cannot be used as asked, or what was to be recorded was not, or perhaps was.
public struct StoreError: RecordingError, Sendable, CustomStringConvertible {
  /// The kinds of ``StoreError``.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    private let name: String
    private init(_ name: String) { self.name = name }
    /// The text for messages and logs.
    public var description: String { name }

    /// The file cannot be opened or made.
    public static let cannotOpen = Code("cannotOpen")
    /// The file is no SQLite database, or is damaged.
    public static let corrupted = Code("corrupted")
    /// The file was made by a newer Warren.
    public static let newerSchema = Code("newerSchema")
    /// A setting of the file or its connection would break a promise and cannot be changed.
    public static let unsafeSettings = Code("unsafeSettings")
    /// A setting is not allowed; the message names it and what is.
    public static let invalidConfiguration = Code("invalidConfiguration")
    /// The database handle belongs to another file than the log.
    public static let wrongDatabase = Code("wrongDatabase")
    /// The event breaks a limit: it can never be recorded as it is.
    public static let invalidEvent = Code("invalidEvent")
    /// The disk is full, or a bound on the backlog is reached.
    public static let full = Code("full")
    /// The file can be read but not written.
    public static let readOnly = Code("readOnly")
    /// Another process holds the file's write lock for longer than the busy timeout.
    public static let busy = Code("busy")
    /// Reading or writing the disk failed.
    public static let inputOutput = Code("inputOutput")
    /// The body of a ``EventLog/transact(_:)`` ended the transaction that it was called in.
    public static let transactionEnded = Code("transactionEnded")
    /// The deadline passed.
    public static let timedOut = Code("timedOut")
    /// The calling task was cancelled.
    public static let cancelled = Code("cancelled")
    /// Another process has moved this reader's checkpoint.
    public static let checkpointMoved = Code("checkpointMoved")
    /// A request id was used before for something else.
    public static let requestReused = Code("requestReused")
    /// The file has projections inside appends that this process does not run, or runs in another version.
    public static let projectionMissing = Code("projectionMissing")
    /// An event cannot be read as what it is asked for.
    public static let undecodable = Code("undecodable")
    /// A reader has been away for longer than the log kept what it had not read.
    public static let lapsed = Code("lapsed")
    /// SQLite reports something else; the message holds it.
    public static let database = Code("database")
  }

  /// What kind of error this is.
  public let code: Code
  /// What happened and what to do about it.
  public let message: String
  /// True when the same call may succeed later without any change to it.
  public let isRetryable: Bool
  /// True when the events, or the body's writes, may be in the file although this error was thrown.
  public internal(set) var mayHaveBeenRecorded: Bool

  init(_ code: Code, _ message: String, isRetryable: Bool = false, mayHaveBeenRecorded: Bool = false) {
    self.code = code
    self.message = message
    self.isRetryable = isRetryable
    self.mayHaveBeenRecorded = mayHaveBeenRecorded
  }

  /// The text for messages and logs.
  public var description: String { "\(code): \(message)" }
}
