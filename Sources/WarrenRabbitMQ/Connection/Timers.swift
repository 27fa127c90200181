import CRabbitMQ
import Warren
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Something with a deadline. Subclasses override `fire`, which runs on the timer thread and must return at once.
///
/// Unchecked: its variables are guarded by the lock of the wheel that it is in.
package class TimerEntry: @unchecked Sendable {
  fileprivate var wheel: Timers?
  fileprivate var bucket = 0
  fileprivate var index = 0
  fileprivate var deadline: Nanoseconds = 0

  package init() {}
  package func fire() {}
  /// Takes the entry out; afterwards it does not fire, unless it is just firing.
  package func cancel() { Timers.shared.remove(self) }
}

/// Unchecked for the class above it: it adds nothing that changes.
private final class ClosureEntry: TimerEntry, @unchecked Sendable {
  private let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  override func fire() { body() }
}

/// One thread per process that ends what has a deadline: publishes, requests, coalesced acknowledgements, and calls
/// into librabbitmq that do not return. A hashed wheel (Varghese and Lauck, 1987): every event that is published has
/// a deadline that it nearly never reaches, so putting in and taking out must cost nothing worth mentioning.
///
/// Unchecked, because C wants a pointer to `wakeup`, which is set in `init` and never again; the rest is behind the lock.
package final class Timers: @unchecked Sendable {
  package static let shared = Timers()

  private static let tick: Nanoseconds = 5_000_000
  private static let bucketCount = 8192
  private struct State {
    var buckets: [[TimerEntry]] = Array(repeating: [], count: bucketCount)
    var count = 0
    var lastTick: Nanoseconds = 0
    var wakeAt: Nanoseconds = .max
    var isStarted = false
  }
  private let state = Lock(State())
  private let clock = EngineClock.system
  private var wakeup: [Int32] = [-1, -1]

  private init() {
    if warren_wakeup_open(&wakeup) != 0 { wakeup = [-1, -1] }
  }

  package func schedule(after delay: Duration, _ body: @escaping @Sendable () -> Void) -> TimerEntry {
    let entry = ClosureEntry(body)
    schedule(entry, after: delay)
    return entry
  }

  package func schedule(_ entry: TimerEntry, after delay: Duration) { schedule(CollectionOfOne(entry), after: delay) }

  /// All with one look at the clock.
  package func schedule(_ entries: some Collection<TimerEntry>, after delay: Duration) {
    let now = clock.now()
    let deadline = now + delay.nanoseconds
    let (start, wake) = state.withLock { state -> (Bool, Bool) in
      let start = !state.isStarted
      if start {
        state.isStarted = true
        state.lastTick = now / Self.tick
      }
      let bucket = Int(max(deadline / Self.tick, state.lastTick) % Nanoseconds(Self.bucketCount))
      for entry in entries {
        entry.wheel = self
        entry.deadline = deadline
        entry.bucket = bucket
        entry.index = state.buckets[bucket].count
        state.buckets[bucket].append(entry)
      }
      state.count += entries.count
      guard deadline < state.wakeAt else { return (start, false) }
      state.wakeAt = deadline
      return (start, !start)
    }
    if start { startThread() }
    if wake { warren_wakeup_signal(wakeup[1]) }
  }

  fileprivate func remove(_ entry: TimerEntry) {
    state.withLock { state in
      guard entry.wheel != nil else { return }
      Self.unlink(entry, &state)
    }
  }

  private static func unlink(_ entry: TimerEntry, _ state: inout State) {
    let bucket = entry.bucket
    let last = state.buckets[bucket].count - 1
    if entry.index < last {
      let moved = state.buckets[bucket][last]
      state.buckets[bucket][entry.index] = moved
      moved.index = entry.index
    }
    state.buckets[bucket].removeLast()
    // Each would otherwise keep the room that it once needed, and every one of them is needed once in a turn of the wheel.
    if last == 0 { state.buckets[bucket] = [] }
    state.count -= 1
    entry.wheel = nil
  }

  private func startThread() {
    startDetachedThread(name: "warren-timers", stackSize: 256 << 10) { [self] in
      while true {
        let (due, sleepUntil) = state.withLock { collect(&$0) }
        for entry in due { entry.fire() }
        let now = clock.now()
        if sleepUntil <= now { continue }
        var poller = pollfd(fd: wakeup[0], events: Int16(POLLIN), revents: 0)
        let ms = sleepUntil == .max ? -1 : Int32(min((sleepUntil - now) / 1_000_000 + 1, 60_000))
        if poll(&poller, 1, ms) > 0 { warren_wakeup_drain(wakeup[0]) }
      }
    }
  }

  private func collect(_ state: inout State) -> (due: [TimerEntry], sleepUntil: Nanoseconds) {
    let now = clock.now()
    let current = now / Self.tick
    var due: [TimerEntry] = []
    let ticks = min(current - state.lastTick + 1, Nanoseconds(Self.bucketCount))
    for step in 0..<ticks {
      let bucket = Int((state.lastTick + step) % Nanoseconds(Self.bucketCount))
      var i = 0
      while i < state.buckets[bucket].count {
        let entry = state.buckets[bucket][i]
        if entry.deadline <= now {
          due.append(entry)
          Self.unlink(entry, &state)
        } else {
          i += 1
        }
      }
    }
    // The current bucket may hold entries that are due later in this tick: it is looked at again.
    state.lastTick = current
    state.wakeAt = .max
    if state.count > 0 {
      for step in 0..<Nanoseconds(Self.bucketCount) {
        let bucket = Int((current + step) % Nanoseconds(Self.bucketCount))
        if let earliest = state.buckets[bucket].lazy.map(\.deadline).min() {
          // Entries of a later round of the wheel only make the thread look once too often.
          state.wakeAt = min(earliest, (current + step + 1) * Self.tick)
          break
        }
      }
    }
    return (due, state.wakeAt)
  }
}
