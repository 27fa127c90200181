import Foundation
import WarrenSupport

#if canImport(Glibc)
  import Glibc

  /// A disk without room: writes to the files of the store fail as the kernel says it.
  enum FullDisk {
    private struct State {
      var isFull = false
      var path = ""
    }
    private static let state = Lock(State())

    /// The store, with its write-ahead log.
    static func stands(for path: String) {
      state.withLock { $0.path = URL(filePath: path).resolvingSymlinksInPath().path }
    }
    static func set(_ isFull: Bool) { state.withLock { $0.isFull = isFull } }

    fileprivate static func refuses(_ descriptor: Int32) -> Bool {
      let (isFull, path) = state.withLock { ($0.isFull, $0.path) }
      guard isFull else { return false }
      var buffer = [CChar](repeating: 0, count: 1024)
      let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
      guard count > 0 else { return false }
      return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self).hasPrefix(path)
    }

    fileprivate typealias Write = @convention(c) (Int32, UnsafeRawPointer?, Int, Int) -> Int
    fileprivate static let write: Write? = {
      // RTLD_NEXT
      guard let found = dlsym(UnsafeMutableRawPointer(bitPattern: -1), "pwrite64") else { return nil }
      return unsafeBitCast(found, to: Write.self)
    }()
  }

  /// Stands before the C library's: the dynamic linker looks into the program before it looks into libraries.
  @_cdecl("pwrite64")
  public func writeUnlessFull(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int, _ offset: Int) -> Int {
    if FullDisk.refuses(descriptor) {
      errno = ENOSPC
      return -1
    }
    return FullDisk.write?(descriptor, bytes, count, offset) ?? -1
  }
#else
  /// Only where the linker lets a program stand before the C library.
  enum FullDisk {
    static func stands(for path: String) {}
    static func set(_ isFull: Bool) {}
  }
#endif
