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

/// Frees a connection thread that stands in one call into the library for too long: shutting the socket down, on a
/// descriptor of its own, is all that another thread may do, and makes the call return.
final class Watchdog: Sendable {
  static let shared = Watchdog()

  /// What a connection thread tells about itself.
  final class Heart: Sendable {
    fileprivate struct State {
      var busySince: Nanoseconds?
      var descriptor: Int32
      var timer: TimerEntry?
    }
    fileprivate let state: Lock<State>
    fileprivate let limit: Duration
    fileprivate let clock: EngineClock

    fileprivate init(descriptor: Int32, limit: Duration, clock: EngineClock) {
      state = Lock(State(descriptor: descriptor))
      self.limit = limit
      self.clock = clock
    }

    /// `time` is when the thread began to work; nil while it sleeps.
    func busy(since time: Nanoseconds?) { state.withLock { $0.busySince = time } }
  }

  func watch(descriptor: Int32, limit: Duration, clock: EngineClock) -> Heart {
    let heart = Heart(descriptor: descriptor, limit: limit, clock: clock)
    look(heart)
    return heart
  }

  func forget(_ heart: Heart) {
    let timer = heart.state.withLock { state in
      state.descriptor = -1
      defer { state.timer = nil }
      return state.timer
    }
    timer?.cancel()
  }

  private func look(_ heart: Heart) {
    let interval = heart.limit / 4
    let timer = Timers.shared.schedule(after: interval) { [weak self, weak heart] in
      guard let self, let heart else { return }
      heart.state.withLock { state in
        guard state.descriptor >= 0, let since = state.busySince else { return }
        if heart.clock.now() >= since + heart.limit.nanoseconds { shutdown(state.descriptor, Int32(SHUT_RDWR)) }
      }
      look(heart)
    }
    let isForgotten = heart.state.withLock { state in
      state.timer = timer
      return state.descriptor < 0
    }
    if isForgotten { timer.cancel() }
  }
}
