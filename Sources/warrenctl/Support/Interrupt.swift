import UnixSignals
import Warren
import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// SIGINT and SIGTERM: the first asks for a clean stop, the second ends the process at once.
final class Interrupt: Sendable {
  private let count = Watched(0)
  var isRaised: Bool { count.value > 0 }

  /// Returns when the first signal has come, or the task is cancelled.
  func wait() async { _ = await count.wait { $0 > 0 } }

  /// Runs `body` while signals are listened to.
  static func watching<R: Sendable>(_ body: (Interrupt) async throws -> R) async throws -> R {
    signal(SIGPIPE, SIG_IGN)
    let interrupt = Interrupt()
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
    let listening = Task {
      for await received in signals {
        interrupt.count.update { $0 += 1 }
        if interrupt.count.value > 1 { exit(128 + received.rawValue) }
      }
    }
    defer { listening.cancel() }
    return try await body(interrupt)
  }
}
