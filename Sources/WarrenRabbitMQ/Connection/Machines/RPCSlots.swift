import DequeModule

/// The requests of one channel: one is on the wire, the others wait (AMQP 0-9-1 §2.2.2 allows no more). A reply belongs
/// to the request on the wire only when it is the method that this request is answered with.
struct RPCSlots<Request, Slot> {
  private struct Entry {
    var request: Request
    var reply: UInt32
    var slot: Slot
  }
  private var waiting = Deque<Entry>()
  private var sent: Entry?
  private(set) var sentAt: Nanoseconds = 0

  var isIdle: Bool { sent == nil && waiting.isEmpty }
  /// The request that is on the wire.
  var outstanding: Request? { sent?.request }

  mutating func append(_ request: Request, reply: UInt32, slot: Slot) {
    waiting.append(Entry(request: request, reply: reply, slot: slot))
  }

  /// The request to write now, if none is on the wire.
  mutating func next(now: Nanoseconds) -> (request: Request, slot: Slot)? {
    guard sent == nil, let entry = waiting.popFirst() else { return nil }
    sent = entry
    sentAt = now
    return (entry.request, entry.slot)
  }

  /// The request that this method answers; nil when it answers none.
  mutating func answered(by method: UInt32) -> (request: Request, slot: Slot)? {
    guard let entry = sent, entry.reply == method else { return nil }
    sent = nil
    return (entry.request, entry.slot)
  }

  /// Takes everything out: the request on the wire first.
  mutating func removeAll() -> [Slot] {
    let all = (sent.map { [$0.slot] } ?? []) + waiting.map(\.slot)
    sent = nil
    waiting.removeAll()
    return all
  }
}
