import Foundation
import Warren

/// What the writer tells: the `number`-th thing about `key`.
struct CrashEvent: Event {
  var key: Int
  var number: Int

  /// Each run has a type, and so queues, of its own.
  static let eventType: EventType = {
    let run = ProcessInfo.processInfo.environment["WARREN_CRASH_RUN"] ?? "none"
    return (try? EventType("crash.r\(run)")) ?? "crash.none"
  }()
}

/// What the processes of a run share.
enum Shared {
  static let service: ServiceName = "crash-reader"
  static let keys = 4
  static var url: String { ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://guest:guest@localhost" }
}
