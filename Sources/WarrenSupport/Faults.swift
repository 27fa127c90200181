#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Places where the crash program ends the process. They are in debug builds only.
package enum Faults {
  /// The named places.
  package enum Place: String, CaseIterable, Sendable {
    case beforeCommit, afterCommit
    case beforePublish
    /// The kernel has half of the bytes of some publishes.
    case inSocketWrite
    /// The kernel has all of them.
    case afterSocketWrite
    /// The broker's confirm has come, and nobody in this process has heard of it.
    case beforeConfirm
    /// The relay is about to hear of an outcome.
    case afterPublish
    case beforeCheckpoint, afterCheckpoint
    case inHandler, beforeHandlerCommit, afterHandlerCommit
    /// The connection's thread is about to write acknowledgements.
    case beforeAck
    /// The kernel has them.
    case afterAck
    /// Between the statements with which a new version of a projection takes the place of the old one.
    case inSwap
    /// The new version is in use, and nobody in this process has heard of it.
    case afterSwap
  }

  #if DEBUG
    private struct Plan {
      var place: Place
      var countdown: Int
    }
    private static let isArmed = getenv("WARREN_CRASH_AT") != nil
    /// `place:n`: the process ends when the place is reached the n-th time.
    private static let plan = Lock<Plan?>(getenv("WARREN_CRASH_AT").flatMap { read(String(cString: $0)) })

    private static func read(_ text: String) -> Plan? {
      let parts = text.split(separator: ":")
      guard parts.count == 2, let place = Place(rawValue: String(parts[0])), let count = Int(parts[1]) else {
        return nil
      }
      return Plan(place: place, countdown: count)
    }
  #endif

  /// - Parameter last: done just before the process ends.
  package static func reached(_ place: Place, last: () -> Void = {}) {
    #if DEBUG
      guard isArmed else { return }
      let isDue = plan.withLock { plan in
        guard plan?.place == place else { return false }
        plan?.countdown -= 1
        return plan?.countdown == 0
      }
      guard isDue else { return }
      last()
      kill(getpid(), SIGKILL)
    #endif
  }
}
