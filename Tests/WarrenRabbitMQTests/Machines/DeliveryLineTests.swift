import Foundation
import Testing

@testable import WarrenRabbitMQ

/// One key after the other, every key in its order.
@Suite struct DeliveryLineTests {
  private func entry(_ number: Int, _ key: String?) -> DeliveryEntry {
    DeliveryEntry(
      message: IncomingMessage(
        deliveryTag: UInt64(number), isRedelivered: false, exchange: "", routingKey: "", properties: [], body: Data(),
        isOversized: false), key: key)
  }

  @Test func withoutKeysItIsFirstInFirstOut() {
    var line = DeliveryLine()
    for number in 1...5 { line.append(entry(number, nil)) }
    #expect((1...5).map { _ in line.next()?.message.deliveryTag } == [1, 2, 3, 4, 5])
    #expect(line.next() == nil)
  }

  /// Against a plain model: any number of workers, keys at random, ends at random.
  @Test(arguments: 0..<100) func keysFollowThemselvesAndNoOneElseWaits(seed: Int) {
    var random = ReplayableRandom("\(#function) \(seed)")
    var line = DeliveryLine()
    var waiting: [(number: Int, key: String?)] = []
    var running: [(number: Int, key: String?)] = []
    for number in 1...300 {
      let key = random.oneIn(5) ? nil : "k\(random.int(0...6))"
      line.append(entry(number, key))
      waiting.append((number, key))
      while random.oneIn(2) {
        if random.oneIn(2), !running.isEmpty {
          let ended = running.remove(at: random.int(0...(running.count - 1)))
          line.finished(key: ended.key)
        } else {
          let may = waiting.filter { one in
            one.key == nil
              || !running.contains { $0.key == one.key }
                && !waiting.contains { $0.key == one.key && $0.number < one.number }
          }
          #expect(line.isEmpty == may.isEmpty, "seed \(seed)")
          guard let next = line.next() else { continue }
          let number = Int(next.message.deliveryTag)
          #expect(may.contains { $0.number == number }, "seed \(seed): \(number) is not its turn")
          waiting.removeAll { $0.number == number }
          running.append((number, next.key))
        }
      }
    }
  }

  @Test func whatWaitsBehindAStuckKeyIsCounted() {
    var line = DeliveryLine()
    for number in 1...4 { line.append(entry(number, "a")) }
    line.append(entry(5, "b"))
    _ = line.next()
    #expect(line.stuckCount == 0)
    line.set("a", isStuck: true)
    #expect(line.stuckCount == 4)
    line.finished(key: "a")
    #expect(line.stuckCount == 0)
  }

  @Test func removingReturnsEverythingThatWaits() {
    var line = DeliveryLine()
    for number in 1...4 { line.append(entry(number, number < 3 ? "a" : nil)) }
    _ = line.next()
    #expect(line.removeAll().map(\.message.deliveryTag).sorted() == [2, 3, 4])
    #expect(line.isEmpty)
  }
}
