import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The right to relay a file: a lock of the operating system on `<file>-relay`, which the kernel frees in the moment when its
/// process dies. Not on the database itself, where closing any descriptor would drop SQLite's own locks.
final class RelayLock: Sendable {
  let path: String
  private let descriptor: Int32

  /// Nil when another process, or another relay of this one, holds it.
  /// - Throws: ``StoreError`` when the file cannot be made.
  ///
  /// - Parameter suffix: named readers have locks of their own.
  init?(of database: String, suffix: String = "-relay") throws(StoreError) {
    path = database + suffix
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw StoreError(.cannotOpen, "the lock \(path) cannot be opened: \(String(cString: strerror(errno)))")
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return nil }
    // What the last holder said is not about this one.
    ftruncate(descriptor, 0)
  }

  /// Lets another relay have it, also while somebody still has this object.
  func release() { flock(descriptor, LOCK_UN) }

  deinit { if descriptor >= 0 { Self.shut(descriptor) } }

  private static func shut(_ descriptor: Int32) {
    #if canImport(Darwin)
      _ = Darwin.close(descriptor)
    #elseif canImport(Musl)
      _ = Musl.close(descriptor)
    #else
      _ = Glibc.close(descriptor)
    #endif
  }

  /// Says to `status` who relays and when it last got on.
  func note(_ holder: RelayHolder) {
    guard let text = try? JSONEncoder().encode(holder) else { return }
    // One write of one length that only grows, so that a reader sees one whole line.
    let line = String(decoding: text, as: UTF8.self).padding(to: 256) + "\n"
    _ = Array(line.utf8).withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
  }

  /// Who holds the lock of a file; nil when nobody does.
  static func holder(of database: String) -> RelayHolder? {
    let descriptor = open(database + "-relay", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { shut(descriptor) }
    // Shared, so that two who ask do not see each other.
    guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else { return nil }
    var buffer = [UInt8](repeating: 0, count: 1024)
    let count = pread(descriptor, &buffer, buffer.count, 0)
    guard count > 0 else { return RelayHolder(process: 0, since: 0, progressAt: 0) }
    let line = buffer[..<count].prefix { $0 != 0x0a }
    return (try? JSONDecoder().decode(RelayHolder.self, from: Data(line)))
      ?? RelayHolder(process: 0, since: 0, progressAt: 0)
  }
}

extension String {
  fileprivate func padding(to length: Int) -> String {
    self + String(repeating: " ", count: max(0, length - utf8.count))
  }
}

/// The process that relays a file. Times are milliseconds since 1970.
struct RelayHolder: Codable, Sendable, Hashable {
  var process: Int32
  var since: Int64
  /// When it last moved the checkpoint, or had nothing to do.
  var progressAt: Int64

  /// How long ago it last got on, in milliseconds; nil when it has said nothing yet.
  var silence: Int64? { progressAt == 0 ? nil : max(0, Int64(wallClockMilliseconds()) - progressAt) }

  /// It looks around at least every ten seconds when it lives.
  var isFrozen: Bool { (silence ?? 0) > 30_000 }
}
