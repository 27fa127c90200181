import Testing

@testable import WarrenRabbitMQ

/// A channel of RabbitMQ, as far as acknowledgements go: it walks over its queue of unacknowledged deliveries until it meets
/// the tag, and closes the channel when it does not meet it.
private struct BrokerChannel {
  struct UnknownTag: Error, Equatable { var tag: UInt64 }

  private(set) var unacknowledged: [UInt64] = []
  private var last: UInt64 = 0

  mutating func deliver() -> UInt64 {
    last += 1
    unacknowledged.append(last)
    return last
  }

  /// Returns what is settled by it.
  mutating func settle(_ tag: UInt64, multiple: Bool) throws -> [UInt64] {
    if multiple, tag == 0 {
      defer { unacknowledged = [] }
      return unacknowledged
    }
    guard let at = unacknowledged.firstIndex(of: tag) else { throw UnknownTag(tag: tag) }
    let covered = multiple ? Array(unacknowledged[...at]) : [tag]
    unacknowledged.removeAll { covered.contains($0) }
    return covered
  }
}

@Suite struct AckTrackerTests {
  private func received(_ count: Int) -> AckTracker {
    var tracker = AckTracker()
    for _ in 0..<count { tracker.received() }
    return tracker
  }

  @Test func theFinishedHeadIsAcknowledgedAtOnceAndTheRestOneByOne() {
    var tracker = received(6)
    for tag: UInt64 in [1, 2, 3, 5] { #expect(tracker.finish(tag) == true) }
    #expect(tracker.finishedCount == 4)
    #expect(tracker.openCount == 2)
    #expect(tracker.flush() == [.ack(3, multiple: true), .ack(5, multiple: false)])
    #expect(tracker.flush().isEmpty)
    #expect(tracker.finish(4) == true)
    #expect(tracker.flush() == [.ack(4, multiple: false)])
    #expect(tracker.finish(6) == true)
    #expect(tracker.flush() == [.ack(6, multiple: false)])
    #expect(tracker.openCount == 0)
  }

  @Test func theHeadAloneIsOneAcknowledgementOrNone() {
    var tracker = received(6)
    #expect(tracker.flushHead() == nil)
    for tag: UInt64 in [2, 3, 6] { #expect(tracker.finish(tag) == true) }
    #expect(tracker.flushHead() == nil)
    #expect(tracker.finish(1) == true)
    #expect(tracker.flushHead() == .ack(3, multiple: true))
    #expect(tracker.flushHead() == nil)
    #expect(tracker.finishedCount == 1)
    #expect(tracker.settle(4) == true)
    #expect(tracker.flushHead() == nil)
    #expect(tracker.flush() == [.ack(6, multiple: false)])
    #expect(tracker.finish(5) == true)
    #expect(tracker.flushHead() == .ack(5, multiple: false))
    #expect(tracker.flushHead() == nil)
  }

  @Test func aMultipleAcknowledgementNamesAnOpenTagAlsoWhenTheLastWasSettledInAnotherWay() {
    var tracker = received(4)
    #expect(tracker.finish(1) == true)
    #expect(tracker.finish(2) == true)
    #expect(tracker.settle(3) == true)
    #expect(tracker.flush() == [.ack(2, multiple: true)])
    #expect(tracker.finish(4) == true)
    #expect(tracker.flush() == [.ack(4, multiple: false)])
  }

  @Test func oneAfterManyThatAreSettledIsNoMultiple() {
    var tracker = received(3)
    #expect(tracker.settle(1) == true)
    #expect(tracker.settle(2) == true)
    #expect(tracker.flush().isEmpty)
    #expect(tracker.finish(3) == true)
    #expect(tracker.flush() == [.ack(3, multiple: false)])
  }

  @Test func onlyWhatIsOpenCanBeFinished() {
    var tracker = received(2)
    #expect(tracker.finish(0) == false)
    #expect(tracker.finish(3) == false)
    #expect(tracker.settle(.max) == false)
    #expect(tracker.finish(2) == true)
    #expect(tracker.finish(2) == false)
    #expect(tracker.settle(2) == false)
    #expect(tracker.flush() == [.ack(2, multiple: false)])
    #expect(tracker.finish(2) == false)
    #expect(tracker.settle(1) == true)
    #expect(tracker.finish(1) == false)
    #expect(tracker.flush().isEmpty)
  }

  @Test func theBrokerSeesEachDeliveryAcknowledgedOnceAndNeverTooEarly() async throws {
    var random = ReplayableRandom()
    for _ in 0..<1000 {
      await Task.yield()
      var tracker = AckTracker()
      var broker = BrokerChannel()
      var open: Set<UInt64> = []
      var finished: Set<UInt64> = []
      var all: Set<UInt64> = []
      var settled: [UInt64: Int] = [:]
      func tell(_ acknowledgements: [Acknowledgement]) throws {
        for acknowledgement in acknowledgements {
          guard case .ack(let tag, let multiple) = acknowledgement else {
            Issue.record("\(acknowledgement) is no ack")
            continue
          }
          for covered in try broker.settle(tag, multiple: multiple) {
            #expect(finished.remove(covered) != nil, "\(covered) is not finished. \(random.replay)")
            settled[covered, default: 0] += 1
          }
        }
      }
      func flush() throws {
        let head = broker.unacknowledged.prefix { finished.contains($0) }
        let acknowledgements = tracker.flush()
        // One for the head, one for each that has finished behind it.
        #expect(acknowledgements.count == (head.isEmpty ? 0 : 1) + finished.count - head.count, random.replay)
        try tell(acknowledgements)
        #expect(finished.isEmpty, random.replay)
      }
      func flushHead() throws {
        let head = broker.unacknowledged.prefix { finished.contains($0) }
        let acknowledgement = tracker.flushHead()
        #expect((acknowledgement == nil) == head.isEmpty, random.replay)
        try tell(acknowledgement.map { [$0] } ?? [])
        #expect(finished.isDisjoint(with: head), random.replay)
      }
      for _ in 0..<random.int(1...120) {
        switch random.int(0...9) {
        case 0...3:
          let tag = broker.deliver()
          tracker.received()
          open.insert(tag)
          all.insert(tag)
        case 4...6:
          // Mostly in order, as deliveries do finish.
          let tag = random.oneIn(3) ? open.randomElement(using: &random) : open.min()
          guard let tag else { continue }
          open.remove(tag)
          finished.insert(tag)
          #expect(tracker.finish(tag) == true, random.replay)
        case 7:
          guard let tag = open.randomElement(using: &random) else { continue }
          open.remove(tag)
          #expect(tracker.settle(tag) == true, random.replay)
          let rejected = try broker.settle(tag, multiple: false)
          #expect(rejected == [tag], random.replay)
          settled[tag, default: 0] += 1
        case 8:
          let tag = UInt64(random.int(0...all.count + 2))
          guard !open.contains(tag) else { continue }
          #expect((random.oneIn(2) ? tracker.finish(tag) : tracker.settle(tag)) == false, random.replay)
        default:
          if random.oneIn(2) { try flush() } else { try flushHead() }
        }
        #expect(tracker.openCount == open.count, random.replay)
        #expect(tracker.finishedCount == finished.count, random.replay)
      }
      for tag in open.shuffled(using: &random) {
        #expect(tracker.finish(tag) == true, random.replay)
        finished.insert(tag)
      }
      open = []
      try flush()
      #expect(broker.unacknowledged.isEmpty, random.replay)
      #expect(settled.count == all.count && settled.values.allSatisfy { $0 == 1 }, random.replay)
    }
  }
}
