import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How long the disk takes for one sync: without it no figure about commits says anything.
enum SyncTime {
  /// The median of a few dozen, in microseconds, of 4 KiB appended to a file beside `path`.
  static func measure(beside path: String) throws -> Double {
    let file = path + "-sync"
    let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw StoreProblem(text: "cannot write \(file): \(String(cString: strerror(errno)))", status: .inputOutput)
    }
    defer {
      #if canImport(Glibc)
        _ = Glibc.close(descriptor)
      #elseif canImport(Musl)
        _ = Musl.close(descriptor)
      #else
        _ = Darwin.close(descriptor)
      #endif
      unlink(file)
    }
    let block = [UInt8](repeating: 1, count: 4096)
    var times: [Double] = []
    for _ in 0..<50 {
      _ = block.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      let start = ContinuousClock.now
      #if canImport(Darwin)
        fsync(descriptor)
      #else
        fdatasync(descriptor)
      #endif
      times.append((ContinuousClock.now - start) / .microseconds(1))
    }
    return times.sorted()[times.count / 2]
  }
}
