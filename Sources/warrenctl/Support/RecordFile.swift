import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A file of JSON lines that are on the disk when ``append(_:)`` returns.
final class RecordFile {
  struct Failed: Error, CustomStringConvertible {
    var path: String
    var code: Int32
    var description: String { "cannot write \(path): \(String(cString: strerror(code)))" }
  }

  let path: String
  private let descriptor: Int32

  /// Appends to a file that is there. A new one may be read by its owner alone: it holds what events hold.
  init(path: String) throws(Failed) {
    self.path = path
    descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
    if descriptor < 0 { throw Failed(path: path, code: errno) }
    // The name of a new file is on the disk with its folder.
    let folder = open(URL(filePath: path).deletingLastPathComponent().path, O_RDONLY | O_CLOEXEC)
    if folder >= 0 {
      _ = fsync(folder)
      close(folder)
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  func append(_ lines: [Data]) throws(Failed) {
    var bytes: [UInt8] = []
    for line in lines { bytes += line + [0x0a] }
    var rest = bytes[...]
    while !rest.isEmpty {
      let n = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if n > 0 {
        rest = rest.dropFirst(n)
      } else if errno != EINTR {
        throw Failed(path: path, code: errno)
      }
    }
    // A pipe or a device has nothing to sync.
    if fsync(descriptor) != 0, errno != EINVAL { throw Failed(path: path, code: errno) }
  }
}
