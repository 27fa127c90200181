import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
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
    case beforeCommit, afterCommit, beforePublish, afterPublish, beforeCheckpoint, afterCheckpoint
    case inHandler, beforeHandlerCommit, afterHandlerCommit
  }

  #if DEBUG
    private struct Plan {
      var place: Place
      var countdown: Int
    }
    private static let isArmed = ProcessInfo.processInfo.environment["WARREN_CRASH_AT"] != nil
    /// `place:n`: the process ends when the place is reached the n-th time.
    private static let plan = Lock<Plan?>(
      ProcessInfo.processInfo.environment["WARREN_CRASH_AT"].flatMap { text in
        let parts = text.split(separator: ":")
        guard parts.count == 2, let place = Place(rawValue: String(parts[0])), let count = Int(parts[1]) else {
          return nil
        }
        return Plan(place: place, countdown: count)
      })

  #endif

  package static func reached(_ place: Place) {
    #if DEBUG
      guard isArmed else { return }
      let isDue = plan.withLock { plan in
        guard plan?.place == place else { return false }
        plan?.countdown -= 1
        return plan?.countdown == 0
      }
      if isDue { kill(getpid(), SIGKILL) }
    #endif
  }
}
