import Warren
import WarrenSupport

/// Deliveries of one queue that this process itself has given back: by a lost connection, a pause, a closed window. The broker
/// counts these as it counts a crash, and an event that is on its way on a flapping network is no culprit.
final class ReturnedDeliveries: Sendable {
  /// So many are remembered; the oldest half is forgotten then.
  private static let limit = 20_000
  private let counts = Lock<(recent: [Int: Int], older: [Int: Int])>(([:], [:]))

  func add(_ messages: [IncomingMessage]) {
    guard !messages.isEmpty else { return }
    let keys = messages.map(Self.key)
    counts.withLock { counts in
      for key in keys { counts.recent[key, default: counts.older[key] ?? 0] += 1 }
      if counts.recent.count > Self.limit / 2 { counts = ([:], counts.recent) }
    }
  }

  /// How often a message has come back that this process has not given back.
  func foreignReturns(of message: IncomingMessage) -> Int {
    let returns = message.returns
    guard returns > 0 else { return 0 }
    let key = Self.key(message)
    let own = counts.withLock { $0.recent[key] ?? $0.older[key] ?? 0 }
    return max(0, returns - own)
  }

  private static func key(_ message: IncomingMessage) -> Int {
    var hasher = Hasher()
    hasher.combine((try? MessageProperties(reading: message.properties))?.messageID)
    hasher.combine(message.body)
    return hasher.finalize()
  }
}
