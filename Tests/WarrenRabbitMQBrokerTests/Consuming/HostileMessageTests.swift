import BrokerFixture
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// Messages that no reasonable client writes and that the broker takes all the same. Each has one exact outcome, and the
/// events behind it are handled.
@Suite(.serialized) struct HostileMessageTests {
  enum Outcome: Equatable {
    /// The handler ran and returned.
    case handled
    /// In the dead letters, written by Warren, with this cause.
    case copied(String)
    /// In the dead letters, moved by the broker.
    case moved
  }

  /// Sends one message to a service whose handler looks at the metadata and then throws or returns, and a good event after it.
  private func outcome(
    handlerThrows: Bool = false, maximumBodySize: Int? = nil, frameMax: Int = 131_072,
    metadata: @escaping @Sendable (EventMetadata) -> Void = { _ in },
    send: (PlainClient, _ queue: String) throws -> Void
  ) async throws -> (outcome: Outcome, letter: LookedAt?) {
    let type = freshType("hostile")
    return try await withTestService(type, configuration: { $0.frameMax = frameMax }) { service in
      let handled = Collected<String>()
      let subscriber = service.subscriber {
        if let maximumBodySize { $0.maximumBodySize = maximumBodySize }
      } handlers: {
        OnRaw(type) { delivery, context in
          if delivery.body.elementsEqual("next".utf8) { return handled.add("next") }
          metadata(context.metadata)
          handled.add("hostile")
          if handlerThrows { throw Refusal("no") }
        }
      }
      let queue = try service.workQueue(type)
      return try await whileConsuming(subscriber) {
        try send(try PlainClient(), queue)
        try await service.put("next", into: queue)
        #expect(try await eventually { handled.all.contains("next") })
        if !handlerThrows, handled.all.contains("hostile") { return (.handled, nil) }
        // With frames of the usual size.
        let letter = try await withSecondBroker { try await $0.look(at: service.deadLetters(type))[0] }
        if let cause = letter.cause { return (.copied(cause), letter) }
        // What cannot be read cannot show why the broker moved it; that no copy of Warren's is there is what counts.
        if letter.properties != nil { #expect(letter.brokersReason == "rejected") }
        return (.moved, letter)
      }
    }
  }

  @Test func everyKindOfFieldIsReadable() async throws {
    let seen = Collected<[String: HeaderValue]>()
    func table() -> RawTable {
      var table = RawTable()
      table.add("bool", "t", [1])
      table.add("i8", "b", [0xff])
      table.add("u8", "B", [0xff])
      table.add("i16", "s", [0xff, 0xfe])
      table.add("u16", "u", [0xff, 0xfe])
      table.add("i32", "I", [0x80, 0, 0, 0])
      table.add("u32", "i", [0x80, 0, 0, 0])
      table.add("i64", "l", [0x80, 0, 0, 0, 0, 0, 0, 0])
      table.add("u64", "L", [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
      table.add("f32", "f", [0x3f, 0xc0, 0, 0])
      table.add("f64", "d", [0x3f, 0xf8, 0, 0, 0, 0, 0, 0])
      table.add("decimal", "D", [2, 0, 0, 1, 0x3b])
      table.add("text", "S", RawTable.counted(Array("é".utf8)))
      table.add("bytes", "x", RawTable.counted([0, 0xff]))
      table.add("time", "T", [0, 0, 0, 0, 0x65, 0x53, 0xf1, 0])
      table.add("table", "F", RawTable.nested(2).bytes)
      table.add("array", "A", RawTable.counted([UInt8(ascii: "V"), UInt8(ascii: "t"), 0]))
      table.add("void", "V", [])
      return table
    }
    let result = try await outcome {
      seen.add($0.headers)
    } send: { client, queue in
      try client.publish(rawProperties: table().properties, body: Array("{}".utf8), routingKey: queue)
    }
    #expect(result.outcome == .handled)
    let expected: [String: HeaderValue] = [
      "bool": true, "i8": -1, "u8": 255, "i16": -2, "u16": 65_534, "i32": .int(Int64(Int32.min)), "u32": .int(1 << 31),
      "i64": .int(.min), "u64": -1, "f32": .double(1.5), "f64": .double(1.5), "decimal": .double(3.15), "text": "é",
      "bytes": .bytes([0, 255]), "time": .timestamp(Date(timeIntervalSince1970: 1_700_000_000)),
      "table": .table(["k": .table([:])]), "array": .array([.null, false]), "void": .null,
    ]
    for (name, value) in expected { #expect(seen.all.first?[name] == value, "\(name)") }
  }

  /// 32 tables inside each other are read; a copy adds nothing to the depth but keeps a level in reserve.
  @Test(
    arguments: [
      (1, .copied("handlerFailed")), (31, .copied("handlerFailed")), (33, .moved), (40, .moved), (1500, .moved),
    ] as [(Int, Outcome)])
  func nestedTables(depth: Int, expected: Outcome) async throws {
    let result = try await outcome(handlerThrows: true) { client, queue in
      try client.publish(rawProperties: RawTable.nested(depth).properties, body: Array("{}".utf8), routingKey: queue)
    }
    #expect(result.outcome == expected)
    #expect(result.letter?.text == "{}")
  }

  /// The same through librabbitmq's own encoder.
  @Test func tablesFortyDeepFromAnotherLibrary() async throws {
    var value = HeaderValue.table([:])
    for _ in 0..<40 { value = .table(["k": value]) }
    let result = try await outcome { client, queue in
      try client.publish(Array("{}".utf8), routingKey: queue, headers: ["deep": value])
    }
    #expect(result.outcome == .moved)
  }

  /// Up to half a frame a copy can carry them; beyond that it has no room for the reason, and the broker moves the message.
  @Test(arguments: [(60_000, .copied("handlerFailed")), (66_000, .moved), (128_000, .moved)] as [(Int, Outcome)])
  func hugeHeaders(size: Int, expected: Outcome) async throws {
    let seen = Collected<Int>()
    let result = try await outcome(handlerThrows: true) {
      seen.add($0.headers["huge"]?.string?.utf8.count ?? -1)
    } send: { client, queue in
      try client.publish(
        Array("{}".utf8), routingKey: queue, headers: ["huge": .string(String(repeating: "h", count: size))])
    }
    #expect(seen.all == [size])
    #expect(result.outcome == expected)
    #expect(result.letter?.header("huge")?.utf8.count == size)
  }

  /// A header that fits into this connection's frames, and does not any more with the reason added.
  @Test func headersWithoutRoomForTheReasonInASmallFrame() async throws {
    let result = try await outcome(handlerThrows: true, frameMax: 8192) { client, queue in
      try client.publish(
        Array("{}".utf8), routingKey: queue, headers: ["huge": .string(String(repeating: "h", count: 8000))])
    }
    #expect(result.outcome == .moved)
  }

  @Test func manyHeaders() async throws {
    let seen = Collected<Int>()
    var headers: [String: HeaderValue] = [:]
    for i in 0..<3000 { headers["header-\(i)"] = .int(Int64(i)) }
    let table = headers
    let result = try await outcome(handlerThrows: true) {
      seen.add($0.headers.count)
    } send: { client, queue in
      try client.publish(Array("{}".utf8), routingKey: queue, headers: table)
    }
    #expect(seen.all == [3000])
    #expect(result.outcome == .copied("handlerFailed"))
    #expect(result.letter?.headers["header-2999"] == 2999)
  }

  @Test func textThatIsNoUTF8IsReadWithReplacements() async throws {
    let seen = Collected<[String: HeaderValue]>()
    let result = try await outcome {
      seen.add($0.headers)
    } send: { client, queue in
      var table = RawTable()
      table.add([0xff, UInt8(ascii: "k")], "S", RawTable.counted([UInt8(ascii: "v"), 0xfe]))
      try client.publish(rawProperties: table.properties, body: Array("{}".utf8), routingKey: queue)
    }
    #expect(result.outcome == .handled)
    #expect(seen.all == [["\u{fffd}k": "v\u{fffd}"]])
  }

  /// AMQP allows no empty key: a copy that carried it would be refused.
  @Test func anEmptyKey() async throws {
    let result = try await outcome(handlerThrows: true) { client, queue in
      var table = RawTable()
      table.add("", "t", [1])
      try client.publish(rawProperties: table.properties, body: Array("{}".utf8), routingKey: queue)
    }
    #expect(result.outcome == .moved)
  }

  /// Ids that are none, a private header with another meaning, a time far outside any calendar.
  @Test func absurdProperties() async throws {
    let seen = Collected<EventMetadata>()
    let result = try await outcome(handlerThrows: true) {
      seen.add($0)
    } send: { client, queue in
      var table = RawTable()
      table.add("warren-seq", "S", RawTable.counted(Array("not a number".utf8)))
      table.add("warren-key", "l", [0, 0, 0, 0, 0, 0, 0, 1])
      table.add("cloudEvents:time", "S", RawTable.counted(Array("yesterday".utf8)))
      table.add("traceparent", "x", RawTable.counted([1, 2, 3]))
      // Headers, delivery mode, message id, timestamp.
      let id: [UInt8] = [3, 0, 7, 10]
      let properties = [0x30, 0xc0] + table.bytes + [2] + id + Array(repeating: 0x7f, count: 8)
      try client.publish(rawProperties: properties, body: Array("{}".utf8), routingKey: queue)
    }
    let metadata = try #require(seen.all.first)
    #expect(metadata.id == nil)
    #expect(metadata.key == nil)
    #expect(metadata.trace == nil)
    #expect(result.outcome == .copied("handlerFailed"))
    #expect(result.letter?.properties?.messageID == "\u{0}\u{7}\n")
    #expect(result.letter?.properties?.timestamp == 0x7f7f_7f7f_7f7f_7f7f)
    #expect(result.letter?.properties?.deliveryMode == 2)
  }

  @Test func noPropertiesAtAll() async throws {
    let result = try await outcome(handlerThrows: true) { client, queue in
      try client.publish(rawProperties: [0, 0], body: [], routingKey: queue)
    }
    #expect(result.outcome == .copied("handlerFailed"))
    #expect(result.letter?.body.isEmpty == true)
    #expect(result.letter?.properties?.messageID == nil)
  }

  @Test(arguments: [(1000, .handled), (1001, .moved), (100_000, .moved), (700_000, .moved)] as [(Int, Outcome)])
  func bodiesAroundTheLimit(size: Int, expected: Outcome) async throws {
    let result = try await outcome(maximumBodySize: 1000) { client, queue in
      try client.publish(Array(repeating: 7, count: size), routingKey: queue)
    }
    #expect(result.outcome == expected)
    if expected == .moved {
      #expect(result.letter?.body.count == size)
      #expect(result.letter?.brokersReason == "rejected")
    }
  }
}
