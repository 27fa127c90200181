import DequeModule

/// Where the checkpoint may stand: before the first entry that was read and is not finished, at the end of what was read when
/// all are.
struct CheckpointFront {
  private(set) var readThrough: Int64
  private var order = Deque<(position: Int64, size: Int)>()
  private var finished: Set<Int64> = []

  init(_ checkpoint: Int64) { readThrough = checkpoint }

  var checkpoint: Int64 { order.first.map { $0.position - 1 } ?? readThrough }

  mutating func read(_ position: Int64, size: Int) { order.append((position, size)) }
  mutating func read(through position: Int64) { readThrough = max(readThrough, position) }

  /// Returns the entries and bytes that the checkpoint can get past now.
  mutating func finish(_ position: Int64) -> (rows: Int, bytes: Int) {
    finished.insert(position)
    var passed = (rows: 0, bytes: 0)
    while let first = order.first, finished.remove(first.position) != nil {
      order.removeFirst()
      passed.rows += 1
      passed.bytes += first.size
    }
    return passed
  }
}
