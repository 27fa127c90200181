import CRabbitMQ
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

@Suite struct PublishHeadTests {
  /// One frame (AMQP 0-9-1 §4.2.3), taken from the front.
  private struct Frame {
    var type: UInt8
    var channel: UInt16
    var payload: [UInt8]

    init(_ bytes: inout ArraySlice<UInt8>) throws {
      func take(_ count: Int) -> UInt64 {
        defer { bytes = bytes.dropFirst(count) }
        return bytes.prefix(count).reduce(0) { $0 << 8 | UInt64($1) }
      }
      try #require(bytes.count >= 8)
      type = UInt8(take(1))
      channel = UInt16(take(2))
      let size = Int(take(4))
      try #require(bytes.count > size)
      payload = Array(bytes.prefix(size))
      bytes = bytes.dropFirst(size)
      let end = take(1)
      #expect(end == 0xce)
    }

    var number: UInt64 { payload.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
  }

  private struct Publish: Equatable {
    var exchange: String
    var routingKey: String
    var isMandatory: Bool
    var isImmediate: Bool
  }

  private func problem(
    exchange: String = "x", routingKey: String = "k", _ properties: MessageProperties, bodySize: Int = 0
  ) -> String? {
    do throws(WarrenError) {
      _ = try PublishHead(exchange: exchange, routingKey: routingKey, properties: properties, bodySize: bodySize)
      return nil
    } catch {
      #expect(error.code == .invalidMetadata)
      return error.message
    }
  }

  @Test func theLibraryReadsBothFrames() async throws {
    var random = ReplayableRandom()
    for _ in 0..<300 {
      await Task.yield()
      let properties = random.properties()
      let (exchange, routingKey) = (random.shortText(), random.shortText())
      let bodySize = random.pick([0, 1, 160, 16 << 20, 512 << 20])
      let head = try PublishHead(exchange: exchange, routingKey: routingKey, properties: properties, bodySize: bodySize)

      var rest = head.bytes[...]
      let method = try Frame(&rest)
      #expect(rest.startIndex == head.headerFrameOffset, random.replay)
      #expect(rest.count == head.headerFrameSize, random.replay)
      let header = try Frame(&rest)
      #expect(rest.isEmpty, random.replay)
      #expect(method.type == 1 && header.type == 2 && method.channel == 0 && header.channel == 0, random.replay)

      #expect(method.number >> 32 == 60 << 16 | 40, random.replay)
      let publish = try AMQPOracle.decodeMethod(
        60 << 16 | 40, Array(method.payload.dropFirst(4)), as: amqp_basic_publish_t.self
      ) {
        Publish(
          exchange: String($0.exchange), routingKey: String($0.routing_key), isMandatory: $0.mandatory != 0,
          isImmediate: $0.immediate != 0)
      }
      #expect(
        publish == Publish(exchange: exchange, routingKey: routingKey, isMandatory: true, isImmediate: false),
        random.replay)

      // Class basic, weight 0, size of the body.
      #expect(header.payload.prefix(4) == [0, 60, 0, 0], random.replay)
      #expect(header.payload[4..<12].reduce(0) { $0 << 8 | Int($1) } == bodySize, random.replay)
      var decoded = MessageProperties(try AMQPOracle.decode(Array(header.payload.dropFirst(12))))
      #expect(decoded.headers.removeValue(forKey: "warren-seq") == 0, random.replay)
      #expect(decoded == properties, random.replay)
    }
  }

  @Test func theTagIsWrittenWhereItIsReadAgain() throws {
    var random = ReplayableRandom()
    for _ in 0..<100 {
      let head = try PublishHead(exchange: "x", routingKey: "k", properties: random.properties(), bodySize: 1)
      var bytes = head.bytes
      let tag = random.next()
      bytes.withUnsafeMutableBufferPointer { buffer in
        if let base = buffer.baseAddress { warren_put_u64(base + head.sequenceOffset, tag) }
      }
      let properties = Array(bytes[(head.headerFrameOffset + 7 + 12)...].dropLast())
      #expect(PublishHead.sequence(in: properties) == tag, random.replay)
    }
  }

  @Test func aReturnedMessageOfSomebodyElseHasNoTag() {
    #expect(PublishHead.sequence(in: Array(MessageProperties(messageID: "m").encoded.bytes.dropLast())) == nil)
    #expect(PublishHead.sequence(in: [0, 0]) == nil)
    #expect(PublishHead.sequence(in: []) == nil)
  }

  // MARK: Limits

  @Test(arguments: AMQPOracle.Flag.allCases) func everyShortStringMayHave255Bytes(flag: AMQPOracle.Flag) throws {
    for text in [String(repeating: "a", count: 255), String(repeating: "é", count: 127) + "a"] {
      #expect(problem(MessageProperties(.init(texts: [flag: text]))) == nil)
    }
    for text in [String(repeating: "a", count: 256), String(repeating: "é", count: 128)] {
      let refusal = try #require(problem(MessageProperties(.init(texts: [flag: text]))))
      #expect(refusal == "the \(flag.amqpName) has 256 bytes; AMQP allows 255")
    }
  }

  @Test func exchangeAndRoutingKeyToo() {
    let (fits, tooLong) = (String(repeating: "a", count: 255), String(repeating: "a", count: 256))
    #expect(problem(exchange: fits, routingKey: fits, MessageProperties()) == nil)
    #expect(problem(exchange: tooLong, MessageProperties()) == "the exchange has 256 bytes; AMQP allows 255")
    #expect(problem(routingKey: tooLong, MessageProperties()) == "the routing key has 256 bytes; AMQP allows 255")
    #expect(problem(exchange: "", routingKey: "", MessageProperties()) == nil)
  }

  @Test func keysHave1To255BytesAtEveryDepth() throws {
    let (fits, tooLong) = (String(repeating: "a", count: 255), String(repeating: "a", count: 256))
    for wrap: (HeaderValue) -> HeaderValue in [
      { $0 }, { .table(["t": $0]) }, { .array([1, $0]) }, { .array([.table(["t": .array([$0])])]) },
    ] {
      #expect(problem(MessageProperties(headers: ["h": wrap(.table([fits: 1]))])) == nil)
      #expect(
        try #require(problem(MessageProperties(headers: ["h": wrap(.table([tooLong: 1]))]))).contains("256 bytes"))
      #expect(try #require(problem(MessageProperties(headers: ["h": wrap(.table(["": 1]))]))).contains("0 bytes"))
    }
    #expect(problem(MessageProperties(headers: [fits: 1])) == nil)
    #expect(problem(MessageProperties(headers: [tooLong: 1])) != nil)
    #expect(problem(MessageProperties(headers: ["": 1])) != nil)
  }

  @Test func headersFitIntoOneFrame() throws {
    func size(_ text: Int) throws -> Int {
      let properties = MessageProperties(headers: ["h": .string(String(repeating: "a", count: text))])
      return try PublishHead(exchange: "x", routingKey: "k", properties: properties, bodySize: 0).headerFrameSize
    }
    let around = try size(0)
    #expect(try size((64 << 10) - around) == 64 << 10)
    let oneMore = MessageProperties(headers: ["h": .string(String(repeating: "a", count: (64 << 10) - around + 1))])
    #expect(problem(oneMore) == "the headers and properties have 65537 bytes; allowed are 65536")
  }

  @Test func whatIsNestedTooDeepToBeReadIsNotWritten() throws {
    for wrap: (HeaderValue) -> HeaderValue in [{ .table(["k": $0]) }, { .array([$0]) }] {
      var value = HeaderValue.int(1)
      var refused = 0
      for _ in 0..<200 {
        value = wrap(value)
        let properties = MessageProperties(headers: ["h": value])
        do {
          let head = try PublishHead(exchange: "x", routingKey: "k", properties: properties, bodySize: 0)
          #expect(refused == 0)
          let written = Array(head.bytes[(head.headerFrameOffset + 19)...].dropLast())
          #expect(try MessageProperties(reading: written).headers["h"] == value)
        } catch {
          #expect((error as? WarrenError)?.message.contains("nested") == true)
          refused += 1
        }
      }
      #expect((160..<200).contains(refused), "\(refused)")
    }
  }
}

extension AMQPOracle.Flag {
  /// As AMQP 0-9-1 §1.8.1 writes it.
  fileprivate var amqpName: String {
    switch self {
    case .contentType: "content-type"
    case .contentEncoding: "content-encoding"
    case .correlationID: "correlation-id"
    case .replyTo: "reply-to"
    case .expiration: "expiration"
    case .messageID: "message-id"
    case .type: "type"
    case .userID: "user-id"
    case .appID: "app-id"
    case .clusterID: "cluster-id"
    }
  }
}
