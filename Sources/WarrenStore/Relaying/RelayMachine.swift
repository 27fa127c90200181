import DequeModule
import HeapModule

/// Decides what the relay sends, holds, and may forget. Knows no database, no broker and no clock: times are milliseconds
/// of any clock that only goes forward.
///
/// An ordered lane has at most one entry under way. One that fails holds its lane: the entries that follow are set aside in
/// the file, and the oldest is tried again after 1 to 60 seconds. The checkpoint stands before the first entry that is
/// neither confirmed nor set aside.
struct RelayMachine {
  /// So far the relay looks ahead.
  static let lookAhead = (entries: 10_000, bytes: 16 << 20)
  static let probeDelays: ClosedRange<Int64> = 1000...60_000
  static let awayDelays: ClosedRange<Int64> = 100...5000
  /// So many entries of a held lane are read at once when it flows again.
  static let heldPage = 200

  struct Entry: Sendable {
    var position: Int64
    var lane: Lane
    var size: Int
    /// It was set aside before a crash, and the checkpoint did not get past it.
    var isAside = false
  }

  struct Alarm: Comparable {
    var time: Int64
    var lane: Lane
    static func < (a: Alarm, b: Alarm) -> Bool { a.time < b.time }
    static func == (a: Alarm, b: Alarm) -> Bool { a.time == b.time && a.lane == b.lane }
  }

  private(set) var checkpoint: Int64
  var front: CheckpointFront
  var items: [Int64: LaneItem] = [:]
  var bytes = 0
  /// Taken out while it is changed: a copy would copy its queue.
  var lanes: [Lane: LaneState] = [:]
  var ready = Deque<Lane>()
  var alarms = Heap<Alarm>()
  var loads = Deque<Lane>()
  var pausedUntil: Int64 = 0
  var pause: Int64 = 0
  var hurried: [String: Int64] = [:]
  var pending: RelayCommit
  var pendingSince: Int64?
  var dropped: [Int64] = []

  /// From what the file says: the checkpoint, and for each held lane its reason, its number of entries and its next try.
  init(checkpoint: Int64, held: [(lane: Lane, reason: HoldReason, count: Int, nextTry: Int64?)]) {
    self.checkpoint = checkpoint
    front = CheckpointFront(checkpoint)
    pending = RelayCommit(from: checkpoint, to: checkpoint)
    for (lane, reason, count, nextTry) in held {
      lanes[lane] = LaneState(hold: LaneHold(reason: reason, nextTry: nextTry, delay: 1, aside: count))
      if let nextTry { alarms.insert(Alarm(time: nextTry, lane: lane)) }
    }
  }

  /// Entries that need not be in memory any more, since the last call.
  mutating func takeDropped() -> [Int64] {
    defer { dropped.removeAll(keepingCapacity: true) }
    return dropped
  }
  var heldLanes: Int { lanes.values.count { $0.hold != nil } }
  var readThrough: Int64 { front.readThrough }
  /// Entries in memory.
  var count: Int { items.count }
  var wantsPage: Bool { items.count < Self.lookAhead.entries && bytes < Self.lookAhead.bytes }

  // MARK: Entries come in

  /// A page of new entries, in order; `through` is the last position that the page covers.
  mutating func read(_ entries: [Entry], through: Int64, now: Int64) {
    for entry in entries {
      front.read(entry.position, size: entry.size)
      if entry.isAside {
        finish(entry.position, now)
        continue
      }
      var state = lanes.removeValue(forKey: entry.lane) ?? LaneState()
      if let hold = state.hold, hold.phase != .trying || hold.aside > 0 {
        setAside(entry.position, of: entry.lane, .behind, cause: hold.reason, "", &state, now)
      } else {
        take(entry.position, LaneItem(lane: entry.lane, size: entry.size, isHeld: false))
        state.queue.append(entry.position)
        markReady(entry.lane, &state)
      }
      lanes[entry.lane] = state
    }
    front.read(through: through)
    noteProgress(now)
  }

  /// Entries of a held lane, the oldest first, as asked for by ``nextLoad(now:)``.
  mutating func load(_ lane: Lane, _ entries: [Entry], now: Int64) {
    guard var hold = lanes[lane]?.hold, var state = lanes.removeValue(forKey: lane) else { return }
    hold.phase = .trying
    hold.loaded = entries.count
    hold.aside = entries.isEmpty ? 0 : max(0, hold.aside - entries.count)
    state.hold = entries.isEmpty ? nil : hold
    for entry in entries {
      take(entry.position, LaneItem(lane: lane, size: entry.size, isHeld: true))
      state.queue.append(entry.position)
    }
    markReady(lane, &state)
    store(state, lane)
  }

  mutating func take(_ position: Int64, _ item: LaneItem) {
    items[position] = item
    bytes += item.size
  }

  mutating func drop(_ position: Int64) -> LaneItem? {
    guard let item = items.removeValue(forKey: position) else { return nil }
    bytes -= item.size
    dropped.append(position)
    return item
  }

  mutating func markReady(_ lane: Lane, _ state: inout LaneState) {
    guard !state.isReady, !state.queue.isEmpty else { return }
    state.isReady = true
    ready.append(lane)
  }

  mutating func store(_ state: LaneState, _ lane: Lane) {
    lanes[lane] = state.isIdle && !state.isReady ? nil : state
  }

  // MARK: Entries go out

  /// The next entries to publish, in order, at most `limit`.
  mutating func nextToSend(limit: Int, now: Int64) -> [Int64] {
    ring(now)
    guard now >= pausedUntil else { return [] }
    var positions: [Int64] = []
    while positions.count < limit, let lane = ready.popFirst() {
      guard var state = lanes.removeValue(forKey: lane) else { continue }
      state.isReady = false
      if state.retryAt > now {
        alarms.insert(Alarm(time: state.retryAt, lane: lane))
      } else if lane.isOrdered {
        if state.underWay == 0, let position = state.queue.popFirst() {
          state.underWay = 1
          positions.append(position)
        }
      } else {
        while positions.count < limit, let position = state.queue.popFirst() {
          state.underWay += 1
          positions.append(position)
        }
        markReady(lane, &state)
      }
      store(state, lane)
    }
    return positions
  }

  /// A held lane whose oldest entries are to be read from the file, how many, and whether it is a probe. What is
  /// pending must be committed before.
  mutating func nextLoad(now: Int64) -> (lane: Lane, limit: Int)? {
    ring(now)
    guard now >= pausedUntil else { return nil }
    while wantsPage, let lane = loads.popFirst() {
      guard let hold = lanes[lane]?.hold, hold.phase == .loading else { continue }
      return (lane, hold.delay > 0 ? 1 : Self.heldPage)
    }
    return nil
  }

  /// What is due becomes ready.
  mutating func ring(_ now: Int64) {
    while let alarm = alarms.min, alarm.time <= now {
      alarms.removeMin()
      guard var state = lanes.removeValue(forKey: alarm.lane) else { continue }
      if state.hold?.phase == .waiting {
        if let due = state.hold?.nextTry, due <= now, state.hold?.loaded == 0 {
          state.hold?.phase = .loading
          loads.append(alarm.lane)
        }
      } else {
        markReady(alarm.lane, &state)
      }
      lanes[alarm.lane] = state
    }
  }

  /// When something becomes due by itself; nil when only news can change anything.
  func nextAlarm(now: Int64) -> Int64? {
    var times: [Int64] = []
    if !ready.isEmpty || !loads.isEmpty, pausedUntil > now { times.append(pausedUntil) }
    if let alarm = alarms.min { times.append(max(alarm.time, pausedUntil)) }
    if let pendingSince { times.append(pendingSince + RelayCommit.maximumAge) }
    return times.min()
  }

  // MARK: Outcomes

  mutating func settle(_ position: Int64, _ verdict: Verdict, now: Int64) {
    guard let item = items[position], var state = lanes.removeValue(forKey: item.lane) else { return }
    let lane = item.lane
    state.underWay -= 1
    switch verdict {
    case .confirmed:
      _ = drop(position)
      (pause, pausedUntil, state.delay, state.retryAt) = (0, 0, 0, 0)
      if item.isHeld {
        release(position, lane, &state, now)
      } else {
        finish(position, now)
      }
    case .away where state.hold?.phase == .waiting || state.hold?.phase == .loading:
      // A neighbour without a key was held meanwhile.
      putBack(position, item, &state, now)
    case .away:
      state.queue.prepend(position)
      state.delay = Self.longer(state.delay, Self.awayDelays)
      state.retryAt = now + state.delay
      if now >= pausedUntil {
        pause = Self.longer(pause, Self.awayDelays)
        pausedUntil = now + pause
      }
    case .failed(.refused, let text) where !lane.isOrdered:
      // Without a key there is no order to keep, so it waits alone.
      _ = drop(position)
      if item.isHeld {
        change(position, .refused, text, nextTry: nil, now)
        state.hold?.loaded -= 1
        followUp(lane, &state)
      } else {
        pending.held.append(
          .init(position: position, lane: lane, reason: .refused, cause: .refused, text: text, delay: nil))
        notePending(now)
        finish(position, now)
      }
    case .failed(let reason, let text):
      hold(position, item, reason, text, &state, now)
    }
    markReady(lane, &state)
    store(state, lane)
  }

  static func longer(_ delay: Int64, _ range: ClosedRange<Int64>) -> Int64 {
    delay == 0 ? range.lowerBound : min(range.upperBound, max(range.lowerBound, delay * 2))
  }

  // MARK: The checkpoint

  mutating func finish(_ position: Int64, _ now: Int64) {
    let passed = front.finish(position)
    pending.rows += passed.rows
    pending.bytes += passed.bytes
    noteProgress(now)
  }

  mutating func noteProgress(_ now: Int64) {
    guard front.checkpoint > pending.to else { return }
    pending.to = front.checkpoint
    notePending(now)
  }

  mutating func notePending(_ now: Int64) { pendingSince = pendingSince ?? now }

  mutating func change(
    _ position: Int64, _ reason: HoldReason, _ text: String, nextTry: Int64?, _ now: Int64
  ) {
    pending.changed.append(.init(position: position, reason: reason, text: text, delay: nextTry.map { $0 - now }))
    notePending(now)
  }

  /// True when what is pending should be committed now.
  func isCommitDue(now: Int64) -> Bool {
    guard let pendingSince else { return false }
    return pending.weight >= RelayCommit.maximumWeight || now - pendingSince >= RelayCommit.maximumAge
  }

  /// What is to be written in one transaction; nil when there is nothing. It counts as written from now on: when that
  /// fails for good, a new machine begins from the file.
  mutating func takeCommit() -> RelayCommit? {
    guard pendingSince != nil else { return nil }
    let commit = pending
    checkpoint = commit.to
    pending = RelayCommit(from: checkpoint, to: checkpoint)
    pendingSince = nil
    return commit
  }
}
