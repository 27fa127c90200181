import BrokerFixture
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// Many publishes at once: all confirmed, none twice, in order where order is promised, never more than the window.
struct ManyPublishersTests {
  private static let count = 1000

  @Test func aThousandTasksPublishAtOnce() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let publisher = Publisher(rabbit, source: "tests")
      let receipts = try await withThrowingTaskGroup(of: Receipt.self) { group in
        for number in 0..<Self.count { group.addTask { try await publisher.publish(Numbered(type, number)) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(Set(receipts.map(\.id)).count == Self.count)
      #expect(receipts.allSatisfy { if case .confirmed = $0 { true } else { false } })
      #expect(try await rabbit.depth(queue) == Self.count)
      let got = try await foreign { try $0.take(queue, Self.count) }
      #expect(Set(got.compactMap(\.messageID)) == Set(receipts.map(\.id.text)))
      let numbers = try got.map { try Numbered.decoded(type: type, body: $0.body).number }
      #expect(numbers.sorted() == Array(0..<Self.count))
    }
  }

  @Test func aWindowOfOneHasOneEventOnTheWire() async throws {
    try await withTap { tap in
      try await withTestBroker({
        $0.go(through: tap)
        $0.publishing.window = 1
      }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        let publisher = Publisher(rabbit, source: "tests")
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 0..<50 { group.addTask { try await publisher.publish(Numbered(type, number)) } }
          group.addTask { try await publisher.publish(contentsOf: (50..<100).map { Numbered(type, $0) }) }
          try await group.waitForAll()
        }
        #expect(try await rabbit.depth(queue) == 100)
        #expect(tap.publishes == 100)
        #expect(mostUnconfirmed(tap.events) == 1)
      }
    }
  }

  @Test func aWindowInBytesBoundsWhatIsOnTheWire() async throws {
    let size = 2048
    try await withTap { tap in
      try await withTestBroker({
        $0.go(through: tap)
        $0.publishing.windowBytes = 16 * size
      }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        let text = String(repeating: "x", count: size)
        // Seven windows of bytes and more, one of them larger than the window by itself.
        let events = (0..<120).map {
          Numbered(type, $0, text: $0 == 60 ? String(repeating: "y", count: 20 * size) : text)
        }
        let receipts = try await Publisher(rabbit, source: "tests").publish(contentsOf: events)
        #expect(receipts.count == 120)
        // An event is its body and its properties, so fewer than sixteen fit.
        let most = mostUnconfirmed(tap.events)
        #expect((2...15).contains(most), "\(most)")
        let got = try await foreign { try $0.take(queue, 120) }
        #expect(try got.map { try Numbered.decoded(type: type, body: $0.body).number } == Array(0..<120))
        #expect(got.map(\.messageID) == receipts.map(\.id.text))
      }
    }
  }

  @Test func orderIsKeptInsideABatchAndBetweenAwaitedCalls() async throws {
    try await withTestBroker({ $0.publishing.window = 50 }) { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let publisher = Publisher(rabbit, source: "tests")
      // Ten windows' worth, then single calls, then a batch again.
      let first = try await publisher.publish(contentsOf: (0..<500).lazy.map { Numbered(type, $0) })
      var receipts = first
      for number in 500..<550 { receipts.append(try await publisher.publish(Numbered(type, number))) }
      receipts += try await publisher.publish(contentsOf: (550..<700).map { Numbered(type, $0) })
      let got = try await foreign { try $0.take(queue, 700) }
      #expect(try got.map { try Numbered.decoded(type: type, body: $0.body).number } == Array(0..<700))
      #expect(got.map(\.messageID) == receipts.map(\.id.text))
    }
  }

  @Test func oneConfirmSettlesManyEvents() async throws {
    try await withTap { tap in
      try await withTestBroker({ $0.go(through: tap) }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        let receipts = try await Publisher(rabbit, source: "tests").publish(
          contentsOf: (0..<3000).map { Numbered(type, $0) })
        #expect(receipts.count == 3000)
        #expect(tap.publishes == 3000)
        let multiple = tap.events.count { if case .ack(_, _, true) = $0 { true } else { false } }
        #expect(multiple > 0, "the broker acknowledged each event by itself: this test shows nothing")
        #expect(try await rabbit.depth(queue) == 3000)
      }
    }
  }
}

/// The most publishes that were without a confirm at one time. Confirms of a channel settle each tag once.
private func mostUnconfirmed(_ events: [Tap.Event]) -> Int {
  var open: [Int: Set<UInt64>] = [:]
  var lastTag: [Int: UInt64] = [:]
  var most = 0
  for event in events {
    switch event {
    case .publish(let channel):
      lastTag[channel, default: 0] += 1
      open[channel, default: []].insert(lastTag[channel, default: 0])
    case .ack(let channel, let tag, let multiple), .nack(let channel, let tag, let multiple):
      open[channel] = open[channel]?.filter { multiple ? $0 > tag : $0 != tag }
    case .channelClosed(let channel): open[channel] = []
    case .returned, .closing: break
    }
    most = max(most, open.values.reduce(0) { $0 + $1.count })
  }
  return most
}
