import Foundation
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The `number`-th thing about `key` in a run.
struct Tick: Event {
  var run: Int
  var key: Int
  var number: Int
  /// When it was made, by the machine's steady clock.
  var at: Int64

  /// Each session has a type, and so queues, of its own.
  static let eventType: EventType = (try? EventType("matrix.\(Shared.session)")) ?? "matrix.none"
}

/// What the processes of a session share.
enum Shared {
  static let session = ProcessInfo.processInfo.environment["WARREN_MATRIX_SESSION"] ?? "none"
  static let subscription = "plain"
  /// Lanes that go through the log; further keys are published directly.
  static let storedKeys = 4
  static let directKeys = 2

  /// Nanoseconds of the clock that all processes of a machine have in common.
  static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  static func say(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }

  /// Lines of standard input, read on a thread of their own.
  static func commands() -> AsyncStream<[String]> {
    AsyncStream { continuation in
      Thread.detachNewThread {
        while let line = readLine() { continuation.yield(line.split(separator: " ").map(String.init)) }
        continuation.finish()
      }
    }
  }
}

/// SplitMix64 (Steele, Lea and Flood): the same seed gives the same run of choices.
struct SplitMix: RandomNumberGenerator, Sendable {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
