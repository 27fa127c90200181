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

  private struct Item {
    var lane: Lane
    var size: Int
    var isHeld: Bool
  }
  private struct Hold {
    enum Phase { case waiting, loading, trying }
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
  private struct LaneState {
    var queue = Deque<Int64>()
    var underWay = 0
    var isReady = false
    var retryAt: Int64 = 0
    var delay: Int64 = 0
    var hold: Hold?
    var isIdle: Bool { queue.isEmpty && underWay == 0 && hold == nil }
  }
  private struct Alarm: Comparable {
    var time: Int64
    var lane: Lane
    static func < (a: Alarm, b: Alarm) -> Bool { a.time < b.time }
    static func == (a: Alarm, b: Alarm) -> Bool { a.time == b.time && a.lane == b.lane }
  }

  private(set) var checkpoint: Int64
  private(set) var readThrough: Int64
  private var items: [Int64: Item] = [:]
  private var bytes = 0
  private var order = Deque<(position: Int64, size: Int)>()
  private var finished: Set<Int64> = []
  /// Taken out while it is changed: a copy would copy its queue.
  private var lanes: [Lane: LaneState] = [:]
  private var ready = Deque<Lane>()
  private var alarms = Heap<Alarm>()
  private var loads = Deque<Lane>()
  private var pausedUntil: Int64 = 0
  private var pause: Int64 = 0
  private var hurried: [String: Int64] = [:]
  private var pending: RelayCommit
  private var pendingSince: Int64?
  private var dropped: [Int64] = []

  /// From what the file says: the checkpoint, and for each held lane its reason, its number of entries and its next try.
  init(checkpoint: Int64, held: [(lane: Lane, reason: HoldReason, count: Int, nextTry: Int64?)]) {
    self.checkpoint = checkpoint
    readThrough = checkpoint
    pending = RelayCommit(from: checkpoint, to: checkpoint)
    for (lane, reason, count, nextTry) in held {
      lanes[lane] = LaneState(hold: Hold(reason: reason, nextTry: nextTry, delay: 1, aside: count))
      if let nextTry { alarms.insert(Alarm(time: nextTry, lane: lane)) }
    }
  }

  /// Entries that need not be in memory any more, since the last call.
  mutating func takeDropped() -> [Int64] {
    defer { dropped.removeAll(keepingCapacity: true) }
    return dropped
  }
  var heldLanes: Int { lanes.values.count { $0.hold != nil } }
  /// Entries in memory.
  var count: Int { items.count }
  var wantsPage: Bool { items.count < Self.lookAhead.entries && bytes < Self.lookAhead.bytes }

  // MARK: Entries come in

  /// A page of new entries, in order; `through` is the last position that the page covers.
  mutating func read(_ entries: [Entry], through: Int64, now: Int64) {
    for entry in entries {
      order.append((entry.position, entry.size))
      if entry.isAside {
        finish(entry.position, now)
        continue
      }
      var state = lanes.removeValue(forKey: entry.lane) ?? LaneState()
      if let hold = state.hold, hold.phase != .trying || hold.aside > 0 {
        setAside(entry.position, of: entry.lane, .behind, cause: hold.reason, "", &state, now)
      } else {
        take(entry.position, Item(lane: entry.lane, size: entry.size, isHeld: false))
        state.queue.append(entry.position)
        markReady(entry.lane, &state)
      }
      lanes[entry.lane] = state
    }
    readThrough = max(readThrough, through)
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
      take(entry.position, Item(lane: lane, size: entry.size, isHeld: true))
      state.queue.append(entry.position)
    }
    markReady(lane, &state)
    store(state, lane)
  }

  private mutating func take(_ position: Int64, _ item: Item) {
    items[position] = item
    bytes += item.size
  }

  private mutating func drop(_ position: Int64) -> Item? {
    guard let item = items.removeValue(forKey: position) else { return nil }
    bytes -= item.size
    dropped.append(position)
    return item
  }

  private mutating func markReady(_ lane: Lane, _ state: inout LaneState) {
    guard !state.isReady, !state.queue.isEmpty else { return }
    state.isReady = true
    ready.append(lane)
  }

  private mutating func store(_ state: LaneState, _ lane: Lane) {
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
  private mutating func ring(_ now: Int64) {
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

  private static func longer(_ delay: Int64, _ range: ClosedRange<Int64>) -> Int64 {
    delay == 0 ? range.lowerBound : min(range.upperBound, max(range.lowerBound, delay * 2))
  }

  private mutating func release(_ position: Int64, _ lane: Lane, _ state: inout LaneState, _ now: Int64) {
    pending.released.append(position)
    notePending(now)
    if let delay = state.hold?.delay, delay > 0 { hurry(lane.exchange, now) }
    state.hold?.delay = 0
    state.hold?.loaded -= 1
    followUp(lane, &state)
  }

  /// After an entry of a held lane left: the lane is free, or its next page is due.
  private mutating func followUp(_ lane: Lane, _ state: inout LaneState) {
    guard let hold = state.hold, hold.loaded == 0 else { return }
    if hold.aside == 0 {
      state.hold = nil
    } else if hold.phase == .trying {
      state.hold?.phase = .loading
      loads.append(lane)
    } else if let due = hold.nextTry {
      // Its alarm may have rung in vain, while entries were under way.
      alarms.insert(Alarm(time: due, lane: lane))
    }
  }

  /// One lane of an exchange flows again, so the others are tried at once.
  private mutating func hurry(_ exchange: String, _ now: Int64) {
    if let last = hurried[exchange], now - last < Self.probeDelays.lowerBound { return }
    hurried[exchange] = now
    for (lane, state) in lanes where lane.exchange == exchange && state.hold?.phase == .waiting {
      guard let due = state.hold?.nextTry, due > now else { continue }
      lanes[lane]?.hold?.nextTry = now
      alarms.insert(Alarm(time: now, lane: lane))
    }
  }

  private mutating func hold(
    _ position: Int64, _ item: Item, _ reason: HoldReason, _ text: String, _ state: inout LaneState, _ now: Int64
  ) {
    let isFirst = state.hold?.phase != .waiting
    var hold = state.hold ?? Hold(reason: reason, aside: 0)
    // Of several without a key that fail at once, the first decides when the lane is tried again.
    if isFirst {
      hold.reason = reason
      hold.phase = .waiting
      hold.delay = Self.longer(hold.delay, Self.probeDelays)
      hold.nextTry = reason == .refused ? nil : now + hold.delay
    }
    state.hold = hold
    _ = drop(position)
    if item.isHeld {
      change(position, reason, text, nextTry: hold.nextTry, now)
      state.hold?.loaded -= 1
      state.hold?.aside += 1
    } else {
      setAside(
        position, of: item.lane, reason, cause: hold.reason, text, &state, now, delay: hold.nextTry.map { $0 - now })
    }
    for waiting in state.queue {
      if let item = items[waiting] { putBack(waiting, item, &state, now) }
    }
    state.queue.removeAll()
    if let due = state.hold?.nextTry { alarms.insert(Alarm(time: due, lane: item.lane)) }
  }

  /// Out of memory, into the file where it is not there yet.
  private mutating func putBack(_ position: Int64, _ item: Item, _ state: inout LaneState, _ now: Int64) {
    _ = drop(position)
    if item.isHeld {
      state.hold?.loaded -= 1
      state.hold?.aside += 1
      followUp(item.lane, &state)
    } else {
      setAside(position, of: item.lane, .behind, cause: state.hold?.reason ?? .behind, "", &state, now)
    }
  }

  private mutating func setAside(
    _ position: Int64, of lane: Lane, _ reason: HoldReason, cause: HoldReason, _ text: String, _ state: inout LaneState,
    _ now: Int64, delay: Int64? = nil
  ) {
    pending.held.append(
      .init(position: position, lane: lane, reason: reason, cause: cause, text: text, delay: delay))
    state.hold?.aside += 1
    dropped.append(position)
    notePending(now)
    finish(position, now)
  }

  // MARK: The checkpoint

  private mutating func finish(_ position: Int64, _ now: Int64) {
    finished.insert(position)
    while let first = order.first, finished.remove(first.position) != nil {
      order.removeFirst()
      pending.rows += 1
      pending.bytes += first.size
    }
    noteProgress(now)
  }

  private mutating func noteProgress(_ now: Int64) {
    let target = order.first.map { $0.position - 1 } ?? readThrough
    guard target > pending.to else { return }
    pending.to = target
    notePending(now)
  }

  private mutating func notePending(_ now: Int64) { pendingSince = pendingSince ?? now }

  private mutating func change(
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
