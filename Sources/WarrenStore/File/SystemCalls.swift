import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Brings the write-ahead log to the disk, for files whose commits do not do that by themselves. On a descriptor of its own
/// of the `-wal` file: closing one of the database or its `-shm` file would drop SQLite's locks.
struct WALSync: Sendable {
  let path: String

  func sync() throws(StoreError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    // Without the file everything is in the database, which SQLite has synced before it removed it.
    guard descriptor >= 0 else { return }
    #if canImport(Darwin)
      let status = fsync(descriptor)
      _ = Darwin.close(descriptor)
    #elseif canImport(Musl)
      let status = fdatasync(descriptor)
      _ = Musl.close(descriptor)
    #else
      let status = fdatasync(descriptor)
      _ = Glibc.close(descriptor)
    #endif
    if status != 0 {
      throw StoreError(.inputOutput, "the write-ahead log cannot be synced to the disk", isRetryable: true)
    }
  }
}

/// The number of this process.
func ownProcessID() -> Int32 { getpid() }

/// The size of a file in bytes; 0 when there is none.
func fileSize(_ path: String) -> Int {
  var status = stat()
  return stat(path, &status) == 0 ? Int(status.st_size) : 0
}
