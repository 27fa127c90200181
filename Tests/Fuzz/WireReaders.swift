#if DEBUG
  import CRabbitMQ
  import Foundation

  @testable import Warren
  @testable import WarrenRabbitMQ

  extension Reader {
    private static func bytes(_ properties: MessageProperties) -> [UInt8] {
      var writer = FieldWriter(capacity: 256)
      _ = properties.write(to: &writer)
      return writer.bytes
    }

    private static let propertySamples: [[UInt8]] = {
      var plain = MessageProperties()
      plain.contentType = "application/json"
      plain.messageID = "01a2153a-76a2-7107-aa0d-fb7b3f153f81"
      plain.timestamp = 1_700_000_000
      plain.type = "user.created"
      plain.appID = "accounts"
      plain.deliveryMode = 2
      var full = plain
      full.contentEncoding = "gzip"
      (full.priority, full.correlationID, full.replyTo, full.expiration) = (3, "c", "r", "60000")
      (full.userID, full.clusterID) = ("guest", "cluster")
      full.headers = [
        "cloudEvents:time": "2026-11-26T00:38:52.093Z", "warren-key": "k", "warren-attempt": 3, "warren-id": 1,
        "x-death": .array([
          .table([
            "reason": "rejected", "queue": "q", "exchange": "events.a.b", "routing-keys": .array(["k"]), "count": 2,
            "time": .timestamp(Date(timeIntervalSince1970: 1_700_000_000)),
          ])
        ]),
        "warren-dead-reason": "handlerFailed", "warren-failed-at": "2026-11-26T00:38:52.093Z",
        "deep": .table(["a": .array([.table(["b": .null]), .bool(true), .double(1.5), .bytes([0, 255])])]),
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      ]
      var nested = HeaderValue.table([:])
      for _ in 0..<28 { nested = .table(["k": nested]) }
      var deep = MessageProperties()
      deep.headers = ["deep": nested]
      return [bytes(plain), bytes(full), bytes(deep), [0, 0]]
    }()

    /// A message's properties, with the headers: everything that is done with them before a handler runs.
    static let properties = Reader(name: "properties", samples: propertySamples) { input in
      let read = try? MessageProperties(reading: input)
      try expect((MessageProperties.problem(in: input) == nil) == (read != nil), "looking and reading disagree")
      _ = MessageProperties.foreignContent(in: input)
      _ = PublishHead.sequence(in: input)
      if let raw = try? RawProperties(input) {
        var writer = FieldWriter(capacity: 256)
        _ = raw.write(to: &writer)
        var again = FieldWriter(capacity: 256)
        _ = try RawProperties(writer.bytes).write(to: &again)
        try expect(again.bytes == writer.bytes, "what is left alone changes")
        if let read {
          var expected = read
          expected.headers[Headers.sequence] = nil
          var found = raw.readable.properties
          found.headers[Headers.sequence] = nil
          // NaN is not equal to itself, unless it is in the very same storage.
          if read == (try? MessageProperties(reading: input)), read.headers.count == Set(read.headers.keys).count,
            MessageProperties.exact(input) != nil
          {
            try expect(found == expected, "raw and whole reading disagree")
          }
        }
      } else {
        try expect(read == nil, "readable, but not as raw properties")
      }
      guard let read else { return }
      _ = EventMetadata(read, type: "a.b")
      guard let exact = MessageProperties.exact(input), exact.tooLong == nil else { return }
      let written = bytes(exact)
      var back = try MessageProperties(reading: written)
      back.headers[Headers.sequence] = nil
      var expected = exact
      expected.headers[Headers.sequence] = nil
      // As above.
      if read == (try? MessageProperties(reading: input)) {
        try expect(back == expected, "exact properties change when they are written")
      }
    }

    /// Dead letters, as they are listed, copied and moved.
    static let deadLetters = Reader(name: "deadLetters", samples: propertySamples) { input in
      let message = IncomingMessage(
        deliveryTag: 1, isRedelivered: true, exchange: "events.a.b", routingKey: "k", properties: input,
        body: Data(input.prefix(100)), isOversized: false)
      let letter = DeadLetter(message, of: "a.b")
      try expect(
        !letter.id.isEmpty && letter.cause.utf8.count <= 64 && letter.reason.utf8.count <= 512, "a long letter")
      var summary = DeadLetterSummary(of: "a.b")
      summary.add(letter)
      try expect(summary.groups.first?.letters == 1, "not counted")
      _ = DeadLetterCopy.request(
        of: message, from: "q", to: "d", reason: .handlerFailed(String(decoding: input, as: UTF8.self)), round: 1,
        now: Date(milliseconds: 0))
      let edit = DeadLetterEdit(from: message.body, to: Data("{}".utf8), time: Date(milliseconds: 0))
      for request in [
        try? DeadLetterMove.replayed(message, to: "q"), try? DeadLetterMove.edited(message, in: "d", edit: edit),
      ] {
        guard let request else { continue }
        let header = Array(request.head.bytes[(request.head.headerFrameOffset + 19)...].dropLast())
        let moved = try RawProperties(header)
        for name in ["x-death", "x-delivery-count", "CC", "BCC"] {
          try expect(!moved.has(name), "\(name) goes along")
        }
        try expect(PublishHead.sequence(in: header) == 0, "no place for the number")
      }
    }

    // MARK: Frames

    private static func frame(_ kind: UInt8, _ payload: [UInt8]) -> [UInt8] {
      var writer = FieldWriter(capacity: 64)
      writer.u8(kind)
      writer.u16(1)
      writer.u32(UInt32(payload.count))
      writer.raw(payload)
      writer.u8(0xce)
      return writer.bytes
    }

    private static func method(_ id: UInt32, _ write: (inout FieldWriter) -> Void) -> [UInt8] {
      var writer = FieldWriter(capacity: 64)
      writer.u32(id)
      write(&writer)
      return frame(1, writer.bytes)
    }

    private static let frameSamples: [[UInt8]] = {
      let deliver = method(Method.basicDeliver) {
        $0.shortString("tag")
        $0.u64(7)
        $0.u8(0)
        $0.shortString("events.a.b")
        $0.shortString("a.b")
      }
      let header = frame(2, [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] + propertySamples[0])
      let ack = method(Method.basicAck) {
        $0.u64(9)
        $0.u8(1)
      }
      let close = method(Method.channelClose) {
        $0.u16(404)
        $0.shortString("NOT_FOUND - no queue 'q'")
        $0.u16(50)
        $0.u16(10)
      }
      let returned = method(Method.basicReturn) {
        $0.u16(312)
        $0.shortString("NO_ROUTE")
        $0.shortString("events.a.b")
        $0.shortString("a.b")
      }
      let declared = method(Method.queueDeclareOK) {
        $0.shortString("q")
        $0.u32(3)
        $0.u32(1)
      }
      let blocked = method(Method.connectionBlocked) { $0.shortString("low on memory") }
      return [
        deliver + header + frame(3, [0x7b, 0x7d]), ack, close, returned + header + frame(3, [0x7b, 0x7d]), declared,
        blocked,
        frame(8, []),
      ]
    }()

    /// What comes over a socket, through librabbitmq's decoder, as the connection thread takes it.
    static let frames = Reader(name: "frames", samples: frameSamples) { input in
      guard let state = amqp_new_connection() else { throw Wrong("no memory") }
      defer { amqp_destroy_connection(state) }
      var names = NameMemo()
      var assembler = FrameAssembler(maximumBodySize: 1 << 20)
      try input.withUnsafeBytes { buffer in
        guard let start = buffer.baseAddress else { return }
        var at = 0
        while at < buffer.count {
          var frame = amqp_frame_t()
          let left = amqp_bytes_t(len: buffer.count - at, bytes: UnsafeMutableRawPointer(mutating: start + at))
          let taken = amqp_handle_input(state, left, &frame)
          guard taken > 0 else { return }
          at += Int(taken)
          try take(frame, &names, &assembler)
        }
      }
    }

    private static func take(_ frame: amqp_frame_t, _ names: inout NameMemo, _ assembler: inout FrameAssembler) throws {
      do {
        switch Int32(frame.frame_type) {
        case AMQP_FRAME_METHOD:
          let method = frame.payload.method
          if case .content(let carrier) = InboundMethod(method.id, method.decoded, names: &names) {
            try assembler.begin(carrier)
          }
        case AMQP_FRAME_HEADER:
          let raw = frame.payload.properties.raw
          _ = try assembler.header(
            bodySize: frame.payload.properties.body_size,
            properties: UnsafeRawBufferPointer(start: raw.bytes, count: raw.len))
        case AMQP_FRAME_BODY:
          let fragment = frame.payload.body_fragment
          _ = try assembler.body(UnsafeRawBufferPointer(start: fragment.bytes, count: fragment.len))
        default: break
        }
      } catch is FrameAssembler.Violation {
        return
      }
    }

    /// Frames in any order and of any size: a content is whole, or the peer is told that it broke the protocol.
    static let assembly = Reader(
      name: "assembly", samples: [[0, 1, 2, 0, 0, 1, 0, 4, 8], [0, 1, 0, 0, 1, 255, 2, 255]]
    ) { input in
      var assembler = FrameAssembler(maximumBodySize: 100)
      var body: [UInt8] = []
      var claimed: UInt64 = 0
      var at = 0
      func byte() -> UInt8 {
        defer { at += 1 }
        return at < input.count ? input[at] : 0
      }
      func check(_ content: FrameAssembler.Content?) throws {
        guard let content else { return }
        try expect(assembler.isIdle, "whole, and not idle")
        try expect(content.isOversized == (claimed > 100), "kept or not, against the limit")
        try expect(content.isOversized || Array(content.body) == body, "another body")
      }
      while at < input.count {
        do {
          switch byte() % 3 {
          case 0: try assembler.begin(.deliver(tag: 1, redelivered: false, exchange: "e", routingKey: "k"))
          case 1:
            let size = UInt64(byte()) << (byte() % 8 == 7 ? 56 : 0)
            let content = try input.prefix(8).withUnsafeBytes { try assembler.header(bodySize: size, properties: $0) }
            (claimed, body) = (size, [])
            try check(content)
          default:
            let fragment = (0..<Int(byte())).map { UInt8(truncatingIfNeeded: $0) }
            let content = try fragment.withUnsafeBytes { try assembler.body($0) }
            body += fragment
            try check(content)
          }
        } catch is FrameAssembler.Violation {
          return
        }
      }
    }
  }
#endif
