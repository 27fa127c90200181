import DequeModule

/// The publishes of one channel in confirm mode that the broker has not settled yet, as a ring indexed by delivery tag
/// (RabbitMQ, "Consumer Acknowledgements and Publisher Confirms").
///
/// Tags begin at 1 and count what was written; both sides only count, so a slot is made exactly when a publish is
/// written. The broker may settle out of order, several at once, and settles a returned message with an ack.
struct ConfirmWindow<Item> {
  private struct Slot {
    var item: Item
    var size: Int
    var returned: String?
  }
  enum Verdict: Equatable {
    case acked
    case nacked
    case returned(String)
  }

  let maximumCount: Int
  let maximumBytes: Int
  private var slots = Deque<Slot?>()
  private var firstTag: UInt64 = 1
  private(set) var count = 0
  private(set) var bytes = 0

  init(maximumCount: Int, maximumBytes: Int) {
    self.maximumCount = maximumCount
    self.maximumBytes = maximumBytes
  }

  var isEmpty: Bool { count == 0 }
  /// What is not settled, in the order of the tags.
  var items: [Item] { slots.compactMap { $0?.item } }

  /// An item larger than the whole bound still goes, alone.
  func hasRoom(for size: Int) -> Bool {
    count == 0 || (count < maximumCount && bytes + size <= maximumBytes)
  }

  /// Takes the next delivery tag for an item that is about to be written.
  mutating func append(_ item: Item, size: Int) -> UInt64 {
    slots.append(Slot(item: item, size: size))
    count += 1
    bytes += size
    return firstTag + UInt64(slots.count) - 1
  }

  /// Notes that the broker could not route the publish with this tag; the ack that follows settles it.
  mutating func markReturned(_ tag: UInt64, reason: String) {
    guard let index = index(of: tag) else { return }
    slots[index]?.returned = reason
  }

  /// What an ack or nack settles, in the order of the tags. Unknown and repeated tags settle nothing. Tag 0 with
  /// `multiple` is all (AMQP 0-9-1 §1.8.3.13).
  mutating func settle(_ tag: UInt64, multiple: Bool, accepted: Bool, _ body: (Item, Verdict) -> Void) {
    if multiple {
      let last = tag == 0 ? slots.count - 1 : index(of: tag) ?? -1
      guard last >= 0 else { return }
      for index in 0...last { settleSlot(index, accepted, body) }
    } else {
      guard let index = index(of: tag) else { return }
      settleSlot(index, accepted, body)
    }
    while let first = slots.first, first == nil {
      slots.removeFirst()
      firstTag += 1
    }
  }

  /// Empties the window, when its channel is gone: what was not settled, in order. Tags begin at 1 again.
  mutating func reset() -> [Item] {
    let items = items
    slots.removeAll()
    (firstTag, count, bytes) = (1, 0, 0)
    return items
  }

  private func index(of tag: UInt64) -> Int? {
    guard tag >= firstTag, tag - firstTag < UInt64(slots.count) else { return nil }
    return Int(tag - firstTag)
  }

  private mutating func settleSlot(_ index: Int, _ accepted: Bool, _ body: (Item, Verdict) -> Void) {
    guard let slot = slots[index] else { return }
    slots[index] = nil
    count -= 1
    bytes -= slot.size
    if let reason = slot.returned, accepted {
      body(slot.item, .returned(reason))
    } else {
      body(slot.item, accepted ? .acked : .nacked)
    }
  }
}
