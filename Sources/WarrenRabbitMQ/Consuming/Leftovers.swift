import Warren
import WarrenSupport

/// Handlers of one queue that outlived the channel of their delivery. The broker delivers such an event again while its
/// handler may still run: the second delivery waits for the first one's outcome instead of running beside it, and is only
/// acknowledged when the first one succeeded. An event is told by its id and body; without an id it is handled again.
final class Leftovers: Sendable {
  /// How many outcomes are kept for deliveries that do not come again (another instance may get them).
  private static let limit = 1024

  private final class Entry: Sendable {
    let id: String
    let message: IncomingMessage
    let settlement = Watched<QueueReader.Settlement?>(nil)
    init(id: String, message: IncomingMessage) {
      self.id = id
      self.message = message
    }
  }
  private let entries = Lock<[Entry]>([])
  private let running = Watched(0)

  /// These were running when their channel went.
  func began(_ messages: [IncomingMessage]) {
    guard !messages.isEmpty else { return }
    running.update { $0 += messages.count }
    let new = messages.compactMap { message in
      (try? MessageProperties(reading: message.properties))?.messageID.map { Entry(id: $0, message: message) }
    }
    entries.withLock { entries in
      entries.append(contentsOf: new)
      let ended = entries.count - Self.limit
      if ended > 0 { entries.removeFirst(ended) }
    }
  }

  /// One of them has ended.
  func ended(_ message: IncomingMessage, _ settlement: QueueReader.Settlement) {
    let entry = entries.withLock { entries in
      entries.first {
        $0.settlement.value == nil && $0.message.deliveryTag == message.deliveryTag
          && $0.message.properties == message.properties && $0.message.body == message.body
      }
    }
    entry?.settlement.update { $0 = settlement }
    running.update { $0 -= 1 }
  }

  /// What came of the same event's earlier delivery, once that has ended; nil when it is to be handled.
  func settlement(of message: IncomingMessage) async -> QueueReader.Settlement? {
    guard message.isRedelivered, entries.withLock({ !$0.isEmpty }),
      let id = (try? MessageProperties(reading: message.properties))?.messageID,
      let entry = entries.withLock({ $0.first { $0.id == id && $0.message.body == message.body } })
    else { return nil }
    let settlement = await entry.settlement.wait { $0 != nil }
    // Nobody may claim an outcome that was not waited for.
    guard let settlement, let settlement else { return .leave }
    entries.withLock { $0.removeAll { $0 === entry } }
    return settlement == .acknowledge ? .acknowledge : nil
  }

  /// Returns when worker `number` of so many may begin without there being more handlers at once than that.
  func waitForRoom(worker number: Int, of concurrency: Int) async {
    _ = await running.wait { $0 + number < concurrency }
  }
}
