import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Bodies around the sizes at which the number of frames changes. A frame of the size that was agreed on carries eight
/// bytes less of body.
struct BodySizeTests {
  private static func body(_ size: Int) -> Data {
    Data((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ size) })
  }

  @Test(arguments: [8192, 131_072])
  func everyBodyArrivesByteForByte(frame: Int) async throws {
    try await withTestBroker({ $0.frameMax = frame }) { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let agreed = try await rabbit.publishing.whenOpen(timeout: .seconds(5)).frameMax
      #expect(agreed == frame)
      let sizes = [
        0, 1, 2, frame - 9, frame - 8, frame - 7, frame - 1, frame, frame + 1, 2 * (frame - 8), 2 * (frame - 8) + 1,
        2 * frame,
      ]
      let outcomes = await Publisher(rabbit, source: "tests").publish(encoded: sizes.map { .init(type, Self.body($0)) })
      #expect(outcomes == sizes.map { _ in .confirmed })
      let got = try await foreign { try $0.take(queue, sizes.count) }
      #expect(got.map(\.body.count) == sizes)
      for (message, size) in zip(got, sizes) { #expect(message.body == Self.body(size), "\(size) bytes") }
    }
  }

  @Test func sixteenMebibytesGoThroughBothWays() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let service = unique()
      try litter.service(service, type)
      // The default of maximumBodySize, twice the default of windowBytes, and all that RabbitMQ 4 takes.
      let body = Self.body(16 << 20)
      let got = Collected<Data>()
      var options = Subscriber.Options()
      options.prefetch = 1
      options.concurrency = 1
      let subscriber = Subscriber(rabbit, service: try ServiceName(service), options: options) {
        OnRaw(type) { delivery, _ in got.add(delivery.body) }
      }
      try await withSubscriber(subscriber) {
        let events = [EncodedEvent(type, [1]), EncodedEvent(type, body), EncodedEvent(type, [2])]
        let outcomes = await Publisher(rabbit, source: "tests").publish(encoded: events)
        #expect(outcomes == [.confirmed, .confirmed, .confirmed])
        let bodies = try #require(await got.wait(for: 3, timeout: .seconds(30)))
        #expect(bodies == [Data([1]), body, Data([2])])
      }
    }
  }

  @Test func aBodyOverTheLimitIsRefusedBeforeAnythingIsWritten() async throws {
    try await withTap { tap in
      try await withTestBroker({
        $0.go(through: tap)
        $0.publishing.maximumBodySize = 1000
      }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        let publisher = Publisher(rabbit, source: "tests")
        let outcomes = await publisher.publish(encoded: [1000, 1001, 999].map { .init(type, Self.body($0)) })
        #expect(outcomes.map(\.kind) == ["confirmed", "refused", "confirmed"])
        #expect(outcomes[1].text == "the body has 1001 bytes; publishing.maximumBodySize is 1000")
        let refused = await error(PublishError.self) {
          try await publisher.publish(Numbered(type, 1, text: String(repeating: "x", count: 1000)))
        }
        #expect(refused?.code == .refused)
        #expect(refused?.mayHaveBeenPublished == false)
        #expect(tap.publishes == 2)
        #expect(try await rabbit.depth(queue) == 2)
      }
    }
  }
}
