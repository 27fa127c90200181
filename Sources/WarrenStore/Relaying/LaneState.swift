import DequeModule

/// An entry in the relay's memory.
struct LaneItem {
  var lane: Lane
  var size: Int
  /// It was set aside in the file, and is tried again.
  var isHeld: Bool
}

/// What the relay knows of one lane.
struct LaneState {
  /// Positions that wait to be sent, in order.
  var queue = Deque<Int64>()
  var underWay = 0
  var isReady = false
  var retryAt: Int64 = 0
  var delay: Int64 = 0
  var hold: LaneHold?
  var isIdle: Bool { queue.isEmpty && underWay == 0 && hold == nil }
}

/// A lane whose oldest entry could not be delivered.
struct LaneHold {
  enum Phase {
    /// For the next try.
    case waiting
    /// For its oldest entries, which are read from the file.
    case loading
    /// Entries of it are queued or under way.
    case trying
  }
  var reason: HoldReason
  var phase = Phase.waiting
  /// Nil: an operator decides.
  var nextTry: Int64?
  /// 0 once something got through.
  var delay: Int64 = 0
  /// In the file and not in memory.
  var aside: Int
  /// In memory, queued or under way.
  var loaded = 0
}
