import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What AMQP's short strings can hold: 255 bytes pass, 256 end the call before anything is written. librabbitmq itself
/// would send a broken frame and lose the connection with everything on it.
struct PropertyLimitTests {
  private static let longest = String(repeating: "k", count: 255)
  private static let tooLong = String(repeating: "k", count: 256)

  @Test func stringsOf255BytesArriveWhole() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      // Four bytes a character, with three in front: 255 bytes.
      let wide = "abc" + String(repeating: "😀", count: 63)
      #expect(wide.utf8.count == 255)
      let options = PublishOptions(
        id: try EventID(Self.longest), key: Self.tooLong, subject: Self.tooLong, routingKey: Self.longest,
        correlationID: wide, headers: [Self.longest: "value", wide: .string(Self.tooLong)])
      let receipt = try await Publisher(rabbit, source: "tests").publish(Numbered(type, 1), options: options)
      #expect(receipt.id.text == Self.longest)
      let got = try await foreign { try $0.take(queue, 1) }[0]
      #expect(got.messageID == Self.longest)
      #expect(got.correlationID == wide)
      #expect(got.routingKey == Self.longest)
      #expect(got.headers[Self.longest] == "S:value")
      #expect(got.headers[wide] == "S:\(Self.tooLong)")
      #expect(got.headers["warren-key"] == "S:\(Self.tooLong)")
      #expect(got.headers["cloudEvents:subject"] == "S:\(Self.tooLong)")
    }
  }

  /// A broker that meets one of these closes the connection, and does so again when it is written again.
  @Test(arguments: [Double.nan, .infinity, -.infinity, .signalingNaN])
  func aNumberThatNoBrokerReadsThrowsAndTheOthersGoOn(_ number: Double) async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      let publisher = Publisher(rabbit, source: "tests")
      try await publisher.publish(Numbered(type, 1), options: PublishOptions(headers: ["n": .double(1e308)]))
      for value: HeaderValue in [.double(number), .array([.table(["deep": .double(number)])])] {
        let thrown = await error(WarrenError.self) {
          try await publisher.publish(Numbered(type, 2), options: PublishOptions(headers: ["bad": value]))
        }
        #expect(thrown?.code == .invalidMetadata)
        #expect(thrown?.message.contains("finite") == true)
      }
      try await publisher.publish(Numbered(type, 3))
      #expect(rabbit.publishing.status.value.epoch == 1)
      #expect(try await foreign { try $0.take(queue, 2) }.count == 2)
    }
  }

  /// Each as an option of a single publish.
  @Test(arguments: ["routing key", "correlation id", "header"])
  func anOptionOf256BytesThrowsAndNothingIsWritten(_ what: String) async throws {
    try await withTap { tap in
      try await withTestBroker({ $0.go(through: tap) }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        let publisher = Publisher(rabbit, source: "tests")
        var options = PublishOptions()
        switch what {
        case "routing key": options.routingKey = Self.tooLong
        case "correlation id": options.correlationID = Self.tooLong
        default: options.headers = [Self.tooLong: 1]
        }
        let bad = options
        // Neighbours before, behind and beside it.
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 0..<20 { group.addTask { try await publisher.publish(Numbered(type, number)) } }
          group.addTask {
            let thrown = await error(WarrenError.self) { try await publisher.publish(Numbered(type, -1), options: bad) }
            #expect(thrown?.code == .invalidMetadata)
            #expect(thrown?.message.contains("256") == true)
            #expect(thrown?.message.contains(what) == true)
          }
          try await group.waitForAll()
        }
        #expect(tap.publishes == 20)
        #expect(try await rabbit.depth(queue) == 20)
        #expect(!tap.events.contains { if case .channelClosed = $0 { true } else { false } })
      }
    }
  }

  @Test func anIDOf256BytesCannotBeMade() throws {
    #expect(throws: WarrenError.self) { try EventID(Self.tooLong) }
  }

  /// Encoded events come from stores and tools: each bad one has an outcome of its own, in its place.
  @Test func badEventsOfABatchAreRefusedInTheirPlaces() async throws {
    try await withTap { tap in
      try await withTestBroker({ $0.go(through: tap) }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        func event(_ change: (inout EncodedEvent) -> Void) -> EncodedEvent {
          var event = EncodedEvent(type, "{}".utf8)
          change(&event)
          return event
        }
        var deep = HeaderValue.int(1)
        for _ in 0..<40 { deep = .array([deep]) }
        let cases: [(text: String?, event: EncodedEvent)] = [
          (nil, event { _ in }),
          ("routing key has 256 bytes", event { $0.routingKey = Self.tooLong }),
          (nil, event { $0.routingKey = Self.longest }),
          ("correlation-id has 256 bytes", event { $0.metadata.correlationID = Self.tooLong }),
          ("app-id has 256 bytes", event { $0.metadata.source = Self.tooLong }),
          ("content-type has 256 bytes", event { $0.metadata.contentType = Self.tooLong }),
          (nil, event { $0.metadata.headers[Self.longest] = 1 }),
          ("key has 256 bytes", event { $0.metadata.headers[Self.tooLong] = 1 }),
          ("key has 0 bytes", event { $0.metadata.headers[""] = 1 }),
          ("key has 256 bytes", event { $0.metadata.headers["table"] = .table([Self.tooLong: 1]) }),
          ("nested", event { $0.metadata.headers["deep"] = deep }),
          ("allowed are 65536", event { $0.metadata.headers["large"] = .bytes([UInt8](repeating: 1, count: 70_000)) }),
          (nil, event { $0.metadata.headers["large"] = .bytes([UInt8](repeating: 1, count: 60_000)) }),
        ]
        let outcomes = await Publisher(rabbit, source: "tests").publish(encoded: cases.map(\.event))
        for (outcome, expected) in zip(outcomes, cases) {
          guard let text = expected.text else {
            #expect(outcome == .confirmed)
            continue
          }
          #expect(outcome.kind == "refused")
          #expect(outcome.text.contains(text), "\(outcome)")
        }
        let good = cases.count { $0.text == nil }
        #expect(tap.publishes == good)
        #expect(try await rabbit.depth(queue) == good)
      }
    }
  }

  /// Properties must fit into one frame, and how large one may be is known only after login.
  @Test func propertiesLargerThanTheFrameAreRefusedBeforeTheyAreWritten() async throws {
    try await withTap { tap in
      try await withTestBroker({
        $0.go(through: tap)
        $0.frameMax = 8192
      }) { rabbit, litter in
        let type = try litter.type()
        let queue = try await rabbit.sink(type, litter)
        func size(_ event: EncodedEvent) throws -> Int {
          try PublishHead(event, exchange: EntityNames.exchange(of: type)).headerFrameSize
        }
        func event(fill: Int) -> EncodedEvent {
          var event = EncodedEvent(type, "{}".utf8)
          event.metadata.headers["fill"] = .string(String(repeating: "f", count: fill))
          return event
        }
        let room = 8192 - (try size(event(fill: 0)))
        #expect(try size(event(fill: room)) == 8192)
        let fills = [0, room, room + 1, room]
        let outcomes = await Publisher(rabbit, source: "tests").publish(encoded: fills.map(event(fill:)))
        #expect(outcomes.map(\.kind) == ["confirmed", "confirmed", "refused", "confirmed"])
        #expect(
          outcomes[2].text == "the headers and properties have 8193 bytes; this broker's largest frame is 8192")
        #expect(tap.publishes == 3)
        #expect(try await rabbit.depth(queue) == 3)
      }
    }
  }

  @Test func anyExpiryArrivesInMilliseconds() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, litter)
      // The last is ten years, the most that is allowed.
      let expiries: [Duration] = [.milliseconds(60_000), .milliseconds(4_294_967_296), .seconds(315_360_000)]
      let publisher = Publisher(rabbit, source: "tests")
      for (number, expiry) in expiries.enumerated() {
        try await publisher.publish(Numbered(type, number), options: .init(expiry: expiry))
      }
      let got = try await foreign { try $0.take(queue, 3) }
      #expect(got.map(\.expiration) == ["60000", "4294967296", "315360000000"])
    }
  }
}
