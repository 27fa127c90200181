import DequeModule
import HeapModule

/// What becomes of a lane whose oldest entry could not be delivered, and how it flows again.
extension RelayMachine {
  mutating func release(_ position: Int64, _ lane: Lane, _ state: inout LaneState, _ now: Int64) {
    pending.released.append(position)
    notePending(now)
    if let delay = state.hold?.delay, delay > 0 { hurry(lane.exchange, now) }
    state.hold?.delay = 0
    state.hold?.loaded -= 1
    followUp(lane, &state)
  }

  /// After an entry of a held lane left: the lane is free, or its next page is due.
  mutating func followUp(_ lane: Lane, _ state: inout LaneState) {
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
  mutating func hurry(_ exchange: String, _ now: Int64) {
    if let last = hurried[exchange], now - last < Self.probeDelays.lowerBound { return }
    hurried[exchange] = now
    for (lane, state) in lanes where lane.exchange == exchange && state.hold?.phase == .waiting {
      guard let due = state.hold?.nextTry, due > now else { continue }
      lanes[lane]?.hold?.nextTry = now
      alarms.insert(Alarm(time: now, lane: lane))
    }
  }

  mutating func hold(
    _ position: Int64, _ item: LaneItem, _ reason: HoldReason, _ text: String, _ state: inout LaneState, _ now: Int64
  ) {
    let isFirst = state.hold?.phase != .waiting
    var hold = state.hold ?? LaneHold(reason: reason, aside: 0)
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
  mutating func putBack(_ position: Int64, _ item: LaneItem, _ state: inout LaneState, _ now: Int64) {
    _ = drop(position)
    if item.isHeld {
      state.hold?.loaded -= 1
      state.hold?.aside += 1
      followUp(item.lane, &state)
    } else {
      setAside(position, of: item.lane, .behind, cause: state.hold?.reason ?? .behind, "", &state, now)
    }
  }

  mutating func setAside(
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
}
