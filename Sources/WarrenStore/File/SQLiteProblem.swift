import GRDB

extension StoreError {
  /// What an error of SQLite means for somebody who wanted to record.
  init(_ error: any Error, doing what: String) {
    if let error = error as? StoreError {
      self = error
      return
    }
    guard let error = error as? DatabaseError else {
      self.init(.database, "\(what): \(error)")
      return
    }
    let text = error.message ?? "\(error.resultCode)"
    switch error.resultCode {
    case .SQLITE_FULL:
      self.init(.full, "\(what): the disk is full (\(text)). Free space and try again", isRetryable: true)
    case .SQLITE_IOERR:
      self.init(.inputOutput, "\(what): reading or writing the disk failed (\(text))", isRetryable: true)
    case .SQLITE_READONLY:
      self.init(
        .readOnly,
        "\(what): the file can only be read (\(text)). Give this process the right to write to it, to the -wal and -shm files beside it, and to its folder"
      )
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      self.init(
        .busy, "\(what): another process or connection holds the file's write lock for too long (\(text))",
        isRetryable: true)
    case .SQLITE_CORRUPT, .SQLITE_NOTADB:
      self.init(.corrupted, "\(what): the file is damaged or no SQLite database (\(text)). Restore it from a copy")
    case .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH:
      self.init(
        .cannotOpen,
        "\(what): the file cannot be opened (\(text)). Does its folder exist, and may this process write there?")
    case .SQLITE_INTERRUPT, .SQLITE_ABORT:
      self.init(.timedOut, "\(what): the statement was interrupted", isRetryable: true)
    default:
      self.init(.database, "\(what): \(text)")
    }
  }
}

extension DatabaseError {
  /// True for what has nothing to do with the statement that met it, so that all who share the transaction fail.
  var concernsEverybody: Bool {
    switch resultCode {
    case .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_READONLY, .SQLITE_CANTOPEN,
      .SQLITE_NOMEM:
      true
    default: false
    }
  }
}
