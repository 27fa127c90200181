import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Refuses to record when the disk is nearly full.
final class DiskFloor: Sendable {
  private let path: String
  private let bytes: Int
  private let last = Lock<(at: ContinuousClock.Instant, free: Int)?>(nil)

  init(path: String, bytes: Int) {
    self.path = path
    self.bytes = bytes
  }

  /// - Throws: ``StoreError`` with code ``StoreError/Code/full``.
  func check() throws(StoreError) {
    let free = last.withLock { last -> Int in
      let now = ContinuousClock.now
      if let last, now - last.at < .seconds(1) { return last.free }
      let free = Self.free(path) ?? .max
      last = (now, free)
      return free
    }
    guard free < bytes else { return }
    throw StoreError(
      .full, "the disk of \(path) has \(free) bytes left and minimumFreeDisk is \(bytes): free some space",
      isRetryable: true)
  }

  private static func free(_ path: String) -> Int? {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return nil }
    return Int(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
  }
}
