import DequeModule

/// Which deliveries of one channel are finished, and what to tell the broker about them.
///
/// One acknowledgement for many covers the finished deliveries at the head, up to the first that is still being handled;
/// those that have finished behind it are acknowledged one by one, so that a slow handler does not keep the broker from
/// sending more. The broker closes the channel when a tag is acknowledged twice, so each is covered exactly once: an
/// acknowledgement with `multiple` must itself name a tag that is still open (RabbitMQ answers 406 otherwise).
struct AckTracker {
  private enum Slot { case open, finished, settled }
  private var slots = Deque<Slot>()
  private var first: UInt64 = 1
  /// Received and not finished.
  private(set) var openCount = 0
  /// Finished and not told to the broker.
  private(set) var finishedCount = 0

  /// Deliveries come with consecutive tags, beginning at 1 (AMQP 0-9-1 §1.8.3.13: per channel).
  mutating func received() {
    slots.append(.open)
    openCount += 1
  }

  /// Its handler has ended and it is to be acknowledged. False when it is not open.
  @discardableResult
  mutating func finish(_ tag: UInt64) -> Bool {
    guard let index = openIndex(of: tag) else { return false }
    slots[index] = .finished
    openCount -= 1
    finishedCount += 1
    return true
  }

  /// It is settled in another way, by itself. False when it is not open.
  @discardableResult
  mutating func settle(_ tag: UInt64) -> Bool {
    guard let index = openIndex(of: tag) else { return false }
    slots[index] = .settled
    openCount -= 1
    return true
  }

  /// One acknowledgement for what is finished at the head; nil when the first is still open.
  mutating func flushHead() -> Acknowledgement? {
    var covered = 0
    var last: UInt64?
    while let slot = slots.first, slot != .open {
      if slot == .finished {
        covered += 1
        last = first
      }
      slots.removeFirst()
      first += 1
    }
    finishedCount -= covered
    return last.map { .ack($0, multiple: covered > 1) }
  }

  /// Everything that is finished: one acknowledgement for the head, and one for each behind the first that is open.
  mutating func flush() -> [Acknowledgement] {
    guard finishedCount > 0 else { return [] }
    var acknowledgements: [Acknowledgement] = []
    if let head = flushHead() { acknowledgements.append(head) }
    var index = 0
    while finishedCount > 0, index < slots.count {
      if slots[index] == .finished {
        slots[index] = .settled
        finishedCount -= 1
        acknowledgements.append(.ack(first + UInt64(index), multiple: false))
      }
      index += 1
    }
    return acknowledgements
  }

  private func openIndex(of tag: UInt64) -> Int? {
    guard tag >= first, tag - first < UInt64(slots.count) else { return nil }
    let index = Int(tag - first)
    return slots[index] == .open ? index : nil
  }
}
