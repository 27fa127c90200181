#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Nanoseconds of a clock that never goes back.
package typealias Nanoseconds = UInt64

/// The engine's only source of time, so that a test can hold it still.
package struct EngineClock: Sendable {
  package var now: @Sendable () -> Nanoseconds
  package init(now: @escaping @Sendable () -> Nanoseconds) { self.now = now }

  package static let system = EngineClock {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

extension Duration {
  /// Saturates at about 292 years; negative becomes zero.
  package var nanoseconds: Nanoseconds {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    return UInt64(min(seconds, 9_000_000_000)) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
  }
}
