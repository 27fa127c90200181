import DequeModule

/// What one publishing channel has to write, in order: what must be written again before what is new, never more than
/// the window allows.
///
/// A channel that the broker closes because of one bad publish takes its neighbours with it: those before it may be in
/// queues already, those after it were thrown away (RabbitMQ closes the channel on a missing exchange, a missing permission,
/// a body over its limit). The one that is to blame ends as refused, all others are written again. The broker's text names
/// the exchange in most cases; where it does not, the events are written one at a time until the culprit errs alone.
struct PublishQueue<Item> {
  private(set) var window: ConfirmWindow<Item>
  private var again = Deque<Item>()
  private var fresh = Deque<Item>()
  private var suspects = 0

  init(maximumCount: Int, maximumBytes: Int) {
    window = ConfirmWindow(maximumCount: maximumCount, maximumBytes: maximumBytes)
  }

  /// True when nothing waits and nothing is unconfirmed.
  var isIdle: Bool { window.isEmpty && again.isEmpty && fresh.isEmpty }
  var hasWaiting: Bool { !(again.isEmpty && fresh.isEmpty) }

  mutating func append(_ items: [Item]) { fresh.append(contentsOf: items) }

  /// The next item to write, with its delivery tag; nil when nothing waits or the window is full. Items that `isWanted`
  /// refuses (their callers have given up) are dropped without taking a tag.
  mutating func next(size: (Item) -> Int, isWanted: (Item) -> Bool) -> (item: Item, tag: UInt64)? {
    while let item = again.first ?? fresh.first {
      if suspects > 0, !window.isEmpty { return nil }
      let size = size(item)
      guard window.hasRoom(for: size) else { return nil }
      let isRepeat = !again.isEmpty
      if isRepeat { again.removeFirst() } else { fresh.removeFirst() }
      guard isWanted(item) else {
        if isRepeat, suspects > 0 { suspects -= 1 }
        continue
      }
      return (item, window.append(item, size: size))
    }
    return nil
  }

  mutating func settle(
    _ tag: UInt64, multiple: Bool, accepted: Bool, _ body: (Item, ConfirmWindow<Item>.Verdict) -> Void
  ) {
    window.settle(tag, multiple: multiple, accepted: accepted) { item, verdict in
      body(item, verdict)
      if suspects > 0 { suspects -= 1 }
    }
  }

  mutating func markReturned(_ tag: UInt64, reason: String) { window.markReturned(tag, reason: reason) }

  /// The broker has closed the channel. Returns the items that are to blame; the rest is written again, in order.
  mutating func channelClosed(isBlamed: ((Item) -> Bool)?) -> [Item] {
    let unconfirmed = window.reset()
    var blamed: [Item] = []
    if let isBlamed { blamed = unconfirmed.filter(isBlamed) }
    let rest: [Item]
    if !blamed.isEmpty, let isBlamed {
      rest = unconfirmed.filter { !isBlamed($0) }
      suspects = min(max(0, suspects - blamed.count), rest.count + again.count)
    } else if unconfirmed.count == 1 {
      blamed = unconfirmed
      rest = []
      suspects = max(0, suspects - 1)
    } else {
      rest = unconfirmed
      suspects = max(suspects, unconfirmed.count)
    }
    again.prepend(contentsOf: rest)
    return blamed
  }

  /// The connection is gone: everything that was written and not confirmed, and everything that was not written.
  mutating func connectionLost() -> (written: [Item], unwritten: [Item]) {
    let written = window.reset()
    let repeats = Array(again)
    let unwritten = Array(fresh)
    again.removeAll()
    fresh.removeAll()
    suspects = 0
    return (written + repeats, unwritten)
  }
}
