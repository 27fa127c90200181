#if canImport(Glibc) && !WARREN_TSAN
  import Glibc
  import WarrenSupport

  /// The writes and syncs of one file by whatever code of this process, SQLite's above all.
  ///
  /// The two functions at the end take the place of the C library's: the dynamic linker looks into the program before it looks
  /// into libraries, so SQLite's calls come here.
  final class SystemCallTrace: Sendable {
    enum Call: Hashable { case write, sync, mark }
    private let path: String
    private let log = Lock<[Call]>([])

    /// `path` as the kernel spells it.
    init(of path: String) {
      self.path = path
      Self.traces.withLock { $0.append(self) }
    }

    func end() { Self.traces.withLock { $0.removeAll { $0 === self } } }

    var calls: [Call] { log.withLock { $0 } }
    func mark() { log.withLock { $0.append(.mark) } }

    private static let traces = Lock<[SystemCallTrace]>([])

    static func note(_ call: Call, _ descriptor: Int32) {
      let traces = traces.withLock { $0 }
      guard !traces.isEmpty else { return }
      var buffer = [CChar](repeating: 0, count: 1024)
      let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
      guard count > 0 else { return }
      let name = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      for trace in traces where trace.path == name { trace.log.withLock { $0.append(call) } }
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
    let result = SystemCallTrace.fdatasync?(descriptor) ?? -1
    if result == 0 { SystemCallTrace.note(.sync, descriptor) }
    return result
  }

  /// Stands before the C library's.
  @_cdecl("pwrite64")
  public func tracedWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int, _ offset: Int) -> Int {
    SystemCallTrace.note(.write, descriptor)
    return SystemCallTrace.pwrite64?(descriptor, bytes, count, offset) ?? -1
  }
#endif
