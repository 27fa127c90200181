import Testing

@testable import WarrenRabbitMQ

@Suite struct PublishQueueTests {
  private typealias Queue = PublishQueue<String>

  /// Writes what the queue gives, up to `limit` items.
  @discardableResult
  private func write(
    _ queue: inout Queue, upTo limit: Int = .max, size: Int = 1, unless isGone: (String) -> Bool = { _ in false }
  ) -> [String] {
    var written: [String] = []
    while written.count < limit, let (item, tag) = queue.next(size: { _ in size }, isWanted: { !isGone($0) }) {
      #expect(tag >= 1)
      written.append(item)
    }
    return written
  }

  private func ack(_ queue: inout Queue, _ tag: UInt64, multiple: Bool = false) -> [String] {
    var items: [String] = []
    queue.settle(tag, multiple: multiple, accepted: true) { item, _ in items.append(item) }
    return items
  }

  private func queue(_ items: [String], window: Int = 10) -> Queue {
    var queue = Queue(maximumCount: window, maximumBytes: 1000)
    queue.append(items)
    return queue
  }

  @Test func writesInOrderAsFarAsTheWindowGoes() {
    var queue = queue(["a", "b", "c", "d"], window: 2)
    #expect(write(&queue) == ["a", "b"])
    #expect(queue.hasWaiting)
    #expect(ack(&queue, 1) == ["a"])
    #expect(write(&queue) == ["c"])
    #expect(ack(&queue, 3, multiple: true) == ["b", "c"])
    #expect(write(&queue) == ["d"])
    #expect(!queue.hasWaiting)
    #expect(!queue.isIdle)
    #expect(ack(&queue, 4) == ["d"])
    #expect(queue.isIdle)
  }

  @Test func whoHasGivenUpTakesNoTag() {
    var queue = queue(["a", "b", "c"])
    #expect(write(&queue, unless: { $0 == "a" || $0 == "c" }) == ["b"])
    #expect(!queue.hasWaiting)
    #expect(ack(&queue, 1) == ["b"])
    #expect(queue.isIdle)
  }

  @Test func anExchangeThatIsNamedIsToBlameAndTheNeighboursAreWrittenAgain() {
    var queue = queue(["a1", "x1", "b1", "x2", "c1", "d1"], window: 5)
    write(&queue)
    #expect(queue.channelClosed { $0.hasPrefix("x") } == ["x1", "x2"])
    // The window is as wide as before: who is to blame is known.
    #expect(write(&queue) == ["a1", "b1", "c1", "d1"])
    #expect(ack(&queue, 4, multiple: true) == ["a1", "b1", "c1", "d1"])
    #expect(queue.isIdle)
  }

  @Test func whatWasOnTheWireTwiceStaysBeforeWhatStillWaitsForItsSecondTime() {
    var queue = queue(["x", "a", "y", "b", "c", "d"])
    write(&queue)
    #expect(queue.channelClosed { $0 == "x" } == ["x"])
    #expect(write(&queue, upTo: 3) == ["a", "y", "b"])
    #expect(queue.channelClosed { $0 == "y" } == ["y"])
    queue.append(["e"])
    #expect(write(&queue) == ["a", "b", "c", "d", "e"])
  }

  @Test func whereNoneIsNamedTheWindowDropsToOneUntilTheCulpritErrsAlone() {
    var queue = queue(["a", "b", "culprit", "d", "e"])
    write(&queue)
    #expect(queue.channelClosed(isBlamed: nil).isEmpty)
    queue.append(["f"])
    #expect(write(&queue) == ["a"])
    #expect(write(&queue) == [])
    #expect(ack(&queue, 1) == ["a"])
    #expect(write(&queue) == ["b"])
    #expect(ack(&queue, 2) == ["b"])
    #expect(write(&queue) == ["culprit"])
    #expect(queue.channelClosed(isBlamed: nil) == ["culprit"])
    var rest: [String] = []
    var tag: UInt64 = 0
    while queue.hasWaiting {
      rest += write(&queue)
      tag += 1
      _ = ack(&queue, tag)
    }
    while !queue.isIdle {
      tag += 1
      _ = ack(&queue, tag)
    }
    #expect(rest == ["d", "e", "f"])
  }

  @Test func afterTheSuspectsTheWindowIsWholeAgain() {
    var queue = queue(["a", "culprit"], window: 3)
    write(&queue)
    #expect(queue.channelClosed(isBlamed: nil).isEmpty)
    #expect(write(&queue) == ["a"])
    #expect(ack(&queue, 1) == ["a"])
    #expect(write(&queue) == ["culprit"])
    #expect(queue.channelClosed(isBlamed: nil) == ["culprit"])
    queue.append(["c", "d", "e", "f"])
    #expect(write(&queue) == ["c", "d", "e"])
  }

  @Test func aNameThatNobodyHasIsNoName() {
    var queue = queue(["a", "b"])
    write(&queue)
    #expect(queue.channelClosed { $0 == "somebody else" }.isEmpty)
    #expect(write(&queue) == ["a"])
    #expect(queue.channelClosed { $0 == "somebody else" } == ["a"])
    #expect(write(&queue) == ["b"])
  }

  @Test func aLonelyPublishIsToBlameAtOnce() {
    var queue = queue(["culprit", "b"], window: 1)
    #expect(write(&queue) == ["culprit"])
    #expect(queue.channelClosed(isBlamed: nil) == ["culprit"])
    #expect(write(&queue) == ["b"])
  }

  @Test func suspectsThatGiveUpDoNotHoldTheOthersBack() {
    var queue = queue(["a", "b", "c"], window: 3)
    write(&queue)
    #expect(queue.channelClosed(isBlamed: nil).isEmpty)
    queue.append(["d", "e", "f"])
    #expect(write(&queue, unless: { $0 < "d" }) == ["d", "e", "f"])
  }

  @Test func aChannelThatClosesWithNothingOnItBlamesNobody() {
    var queue = queue(["a", "b"])
    #expect(queue.channelClosed(isBlamed: nil).isEmpty)
    #expect(queue.channelClosed { _ in true }.isEmpty)
    #expect(write(&queue) == ["a", "b"])
  }

  @Test func theEndOfTheConnectionTellsWrittenFromUnwritten() {
    var queue = queue(["a", "b", "c", "d", "e"], window: 3)
    write(&queue)
    _ = ack(&queue, 2)
    #expect(queue.channelClosed { $0 == "c" } == ["c"])
    queue.append(["f"])
    write(&queue, upTo: 0)
    let (written, unwritten) = queue.connectionLost()
    #expect(written == ["a"])
    #expect(unwritten == ["d", "e", "f"])
    #expect(queue.isIdle)
    queue.append(["g", "h"])
    #expect(write(&queue) == ["g", "h"])
  }
}
