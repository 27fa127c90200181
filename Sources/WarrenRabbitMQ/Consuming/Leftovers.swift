import Warren
import WarrenSupport

/// Handlers of one queue that outlived the channel of their delivery. The broker delivers such an event again while its
/// handler may still run: the second delivery waits for the first one's outcome instead of running beside it, and is only
/// acknowledged when the first one succeeded. An event is told by its id and body; without an id it is handled again.
final class Leftovers: Sendable {
  /// How many outcomes are kept for deliveries that do not come again (another instance may get them).
  private static let limit = 1024

  private final class Entry: Sendable {
    let reader: Int
    let message: IncomingMessage
    let id: String
    let settlement = Watched<QueueReader.Settlement?>(nil)
    init(reader: Int, message: IncomingMessage, id: String) {
      self.reader = reader
      self.message = message
      self.id = id
    }
  }
  private struct State {
    var lastReader = 0
    var entries: [Entry] = []
  }
  private let state = Lock(State())
  private let running = Watched(0)

  /// A reader's number: higher than those of all before it.
  func newReader() -> Int {
    state.withLock { state in
      state.lastReader += 1
      return state.lastReader
    }
  }

  /// These were running when their reader lost its channel.
  func began(_ messages: [IncomingMessage], of reader: Int) {
    guard !messages.isEmpty else { return }
    running.update { $0 += messages.count }
    let new = messages.compactMap { message in
      (try? MessageProperties(reading: message.properties))?.messageID.map {
        Entry(reader: reader, message: message, id: $0)
      }
    }
    state.withLock { state in
      state.entries.append(contentsOf: new)
      let excess = state.entries.count - Self.limit
      if excess > 0 { state.entries.removeFirst(excess) }
    }
  }

  /// One of them has ended.
  func ended(_ deliveryTag: UInt64, of reader: Int, _ settlement: QueueReader.Settlement) {
    let entry = state.withLock { state in
      state.entries.first { $0.reader == reader && $0.message.deliveryTag == deliveryTag }
    }
    entry?.settlement.update { $0 = settlement }
    running.update { $0 -= 1 }
  }

  /// What came of the same event's delivery to an earlier reader, once that has ended; nil when it is to be handled.
  func settlement(of message: IncomingMessage, to reader: Int) async -> QueueReader.Settlement? {
    guard message.isRedelivered, state.withLock({ !$0.entries.isEmpty }),
      let id = (try? MessageProperties(reading: message.properties))?.messageID
    else { return nil }
    // Not one of its own reader: that would be this very delivery, when the channel was lost a moment ago.
    let entry = state.withLock { state in
      state.entries.last { $0.reader < reader && $0.id == id && $0.message.body == message.body }
    }
    guard let entry else { return nil }
    let settlement = await entry.settlement.wait { $0 != nil }
    // Nobody may claim an outcome that was not waited for.
    guard let settlement, let settlement else { return .leave }
    state.withLock { $0.entries.removeAll { $0 === entry } }
    return settlement == .acknowledge ? .acknowledge : nil
  }

  /// Returns when worker `number` of so many may begin without there being more handlers at once than that.
  func waitForRoom(worker number: Int, of concurrency: Int) async {
    _ = await running.wait { $0 + number < concurrency }
  }
}
