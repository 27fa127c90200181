import Foundation
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Does something small forty times a second, on a thread that sleeps in between: timers of tasks and queues wake two or three
/// threads each time, and for nothing that is most of what an idle process does.
final class Ticker: Sendable {
  private static let interval = 25_000_000
  private let isOver = Lock(false)

  func start(_ tick: @escaping @Sendable () -> Void) {
    let thread = Thread { [isOver] in
      // Straight to the kernel: this is all that most ticks do.
      var time = timespec(tv_sec: 0, tv_nsec: Self.interval)
      while !isOver.withLock({ $0 }) {
        nanosleep(&time, nil)
        tick()
      }
    }
    thread.name = "warren.relay"
    thread.stackSize = 256 << 10
    thread.start()
  }

  func stop() { isOver.withLock { $0 = true } }
}

/// Milliseconds of a clock that no administrator sets.
func steadyMilliseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
