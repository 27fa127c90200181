#if canImport(Glibc) && !WARREN_TSAN
  import Foundation
  import Glibc
  import WarrenSupport

  /// The writes and syncs of one file by whatever code of this process, SQLite's above all. It can make them fail, as a disk does.
  ///
  /// The two functions at the end take the place of the C library's: the dynamic linker looks into the program before it looks
  /// into libraries, so SQLite's calls come here.
  final class SystemCallTrace: Sendable {
    enum Call: Hashable { case write, sync, mark }
    private let path: String
    private let log = Lock<[Call]>([])
    private let failures = Lock<[Call: Int32]>([:])

    init(of path: String) {
      self.path = URL(filePath: path).resolvingSymlinksInPath().path
      Self.traces.withLock { $0.append(self) }
    }

    func end() { Self.traces.withLock { $0.removeAll { $0 === self } } }

    var calls: [Call] { log.withLock { $0 } }

    /// From now on these calls fail with this error number; nil: no more.
    func fail(_ call: Call, with number: Int32?) { failures.withLock { $0[call] = number } }

    func mark() { log.withLock { $0.append(.mark) } }

    private static let traces = Lock<[SystemCallTrace]>([])

    private static func traces(of descriptor: Int32) -> [SystemCallTrace] {
      let traces = traces.withLock { $0 }
      guard !traces.isEmpty else { return [] }
      var buffer = [CChar](repeating: 0, count: 1024)
      let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
      guard count > 0 else { return [] }
      let name = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return traces.filter { $0.path == name }
    }

    fileprivate static func run<R: SignedInteger>(_ call: Call, _ descriptor: Int32, _ real: () -> R?) -> R {
      let traces = traces(of: descriptor)
      if let number = traces.lazy.compactMap({ $0.failures.withLock { $0[call] } }).first {
        errno = number
        return -1
      }
      let result = real() ?? -1
      for trace in traces where result >= 0 { trace.log.withLock { $0.append(call) } }
      return result
    }

    private static func next<F>(_ name: String, as type: F.Type) -> F? {
      // RTLD_NEXT
      guard let found = dlsym(UnsafeMutableRawPointer(bitPattern: -1), name) else { return nil }
      return unsafeBitCast(found, to: type)
    }
    fileprivate typealias Sync = @convention(c) (Int32) -> Int32
    fileprivate typealias Write = @convention(c) (Int32, UnsafeRawPointer?, Int, Int) -> Int
    fileprivate static let fdatasync = next("fdatasync", as: Sync.self)
    fileprivate static let pwrite64 = next("pwrite64", as: Write.self)
  }

  /// Stands before the C library's.
  @_cdecl("fdatasync")
  public func tracedDataSync(_ descriptor: Int32) -> Int32 {
    SystemCallTrace.run(.sync, descriptor) { SystemCallTrace.fdatasync?(descriptor) }
  }

  /// Stands before the C library's.
  @_cdecl("pwrite64")
  public func tracedWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int, _ offset: Int) -> Int {
    SystemCallTrace.run(.write, descriptor) { SystemCallTrace.pwrite64?(descriptor, bytes, count, offset) }
  }
#endif
