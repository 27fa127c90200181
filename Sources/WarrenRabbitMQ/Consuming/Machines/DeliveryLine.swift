import DequeModule

/// A delivery that waits for a handler.
struct DeliveryEntry: Sendable {
  var message: IncomingMessage
  /// Whose order it keeps; nil when it has none.
  var key: String?
  /// It has ended the process too often: it is not to be handled.
  var isCrashLoop = false
  /// Set for one that comes from a store and not from the channel.
  var parked: Parked?

  /// Where a delivery has come from that was parked.
  final class Parked: Sendable {
    /// The store keeps the order of it itself.
    let key: String?
    /// Hears what came of it.
    let completion: @Sendable (QueueReader.Settlement) -> Void

    init(key: String?, completion: @escaping @Sendable (QueueReader.Settlement) -> Void) {
      self.key = key
      self.completion = completion
    }
  }
}

/// Which delivery is handled next: the oldest, or with keys the oldest whose key is free, so that the deliveries of one key
/// follow each other.
struct DeliveryLine {
  private var ready = Deque<DeliveryEntry>()
  /// Behind a delivery of the same key that is ready or under way. A key is in here as long as that is so.
  private var behind: [String: Deque<DeliveryEntry>] = [:]
  /// Keys whose delivery waits in place until it is tried again.
  private var stuck: Set<String> = []

  var isEmpty: Bool { ready.isEmpty }

  mutating func append(_ entry: DeliveryEntry) {
    guard let key = entry.key else { return ready.append(entry) }
    if behind[key] == nil {
      behind[key] = []
      ready.append(entry)
    } else {
      behind[key]?.append(entry)
    }
  }

  mutating func next() -> DeliveryEntry? { ready.popFirst() }

  /// The delivery of this key that was under way has ended: the next one may begin.
  mutating func finished(key: String?) {
    guard let key, behind[key] != nil else { return }
    stuck.remove(key)
    if let next = behind[key]?.popFirst() { ready.append(next) } else { behind[key] = nil }
  }

  mutating func set(_ key: String, isStuck: Bool) {
    if isStuck { stuck.insert(key) } else { stuck.remove(key) }
  }

  /// Deliveries that wait in place or behind one that does.
  var stuckCount: Int { stuck.reduce(0) { $0 + 1 + (behind[$1]?.count ?? 0) } }

  /// Forgets what waits, and returns it.
  mutating func removeAll() -> [DeliveryEntry] {
    defer {
      ready = []
      behind = [:]
      stuck = []
    }
    return Array(ready) + behind.values.flatMap { $0 }
  }
}
