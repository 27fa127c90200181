import BrokerFixture
import Foundation
import Logging
import Testing
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

/// Messages that lie about themselves: about their content, their history, their number of tries.
@Suite(.serialized) struct HostileContentTests {
  private struct Note: Event {
    static let eventType = freshType("content")
    var n: Int
  }

  @Test func contentThatNobodyDecodesGoesToTheDeadLettersWithTheReason() async throws {
    try await withTestService(Note.eventType) { service in
      let handled = Collected<Int>()
      let subscriber = service.subscriber { On(Note.self) { note, _ in handled.add(note.n) } }
      let queue = try service.workQueue(Note.eventType)
      try await whileConsuming(subscriber) {
        let contents: [(type: String?, encoding: String?)] = [
          (nil, nil), ("application/json; charset=utf-8", nil), ("text/plain", "utf-8"),
          ("application/vnd.x+json", "identity"), ("application/xml", nil), ("application/json", "gzip"), (nil, "br"),
          ("application/json; charset=utf-16", nil),
        ]
        for (n, content) in contents.enumerated() {
          try await service.put(#"{"n":\#(n)}"#, into: queue) {
            ($0.messageID, $0.contentType, $0.contentEncoding) = ("\(n)", content.type, content.encoding)
          }
        }
        #expect(await handled.wait(for: 4)?.sorted() == [0, 1, 2, 3])
        let dead = try await service.rabbit.look(at: service.deadLetters(Note.eventType), count: 4)
        #expect(dead.compactMap { $0.properties?.messageID }.sorted() == ["4", "5", "6", "7"])
        #expect(dead.allSatisfy { $0.cause == "undecodable" })
        let reasons = dead.sorted { $0.text < $1.text }.compactMap { $0.header("warren-last-error") }
        for (reason, word) in zip(reasons, ["application/xml", "gzip", "br", "utf-16"]) {
          #expect(reason.contains("\"\(word)\""), "\(reason)")
        }
        // They stay what they were.
        #expect(dead.contains { $0.properties?.contentEncoding == "gzip" })
      }
      #expect(handled.all.count == 4)
    }
  }

  /// Whoever takes bodies undecoded gets all of them, and hears what they are.
  @Test func aRawHandlerTakesAnyContent() async throws {
    let type = freshType("content")
    try await withTestService(type) { service in
      let seen = Collected<String>()
      let subscriber = service.subscriber {
        OnRaw(type) { delivery, context in
          seen.add("\(context.metadata.contentType ?? "-") \(context.metadata.contentEncoding ?? "-")")
        }
      }
      try await whileConsuming(subscriber) {
        try await service.put(Data([0x1f, 0x8b]), into: service.workQueue(type)) {
          ($0.contentType, $0.contentEncoding) = ("application/xml", "gzip")
        }
        #expect(await seen.wait(for: 1) == ["application/xml gzip"])
      }
    }
  }

  private static let forged: [[String: HeaderValue]] = [
    ["x-death": .array([.table(["count": 1_000_000, "reason": "delivery_limit", "queue": "q"])])],
    ["x-death": "a text", "x-first-death-reason": 7, "x-last-death-queue": .null],
    ["x-delivery-count": 1_000_000, "x-acquired-count": 1_000_000],
    ["x-delivery-count": "many", "x-acquired-count": .table([:])], ["x-delivery-count": -5],
    ["warren-attempt": .int(.max)], ["warren-attempt": .int(.min)], ["warren-attempt": "third"],
    ["warren-dead-reason": "crashLoop", "warren-last-error": .int(0), "warren-origin-queue": .null],
    ["warren-origin-exchange": "amq.direct", "warren-origin-routing-key": .array([])],
    ["warren-first-failed-at": "tomorrow", "warren-failed-at": .timestamp(Date(timeIntervalSince1970: -1e11))],
    ["cloudEvents:time": "9999999-01-01T00:00:00Z", "cloudEvents:id": .array([]), "cloudEvents:type": .null],
    ["warren-seq": "no", "warren-id": .double(1.5), "warren-key": .bytes([0xff])],
    ["traceparent": "00-\u{0}", "tracestate": .string(String(repeating: "a=b,", count: 5000)), "baggage": "\r\nX: y"],
  ]

  /// The first time, and when they come back without anybody's fault.
  @Test(arguments: [false, true]) func forgedHeadersDoNoHarm(comesBack: Bool) async throws {
    let type = freshType("forged")
    try await withTestService(type) { service in
      try await service.declareQueues(type)
      let queue = try service.workQueue(type)
      for (n, headers) in Self.forged.enumerated() {
        try await service.put("\(n)", into: queue) {
          $0.headers = headers
          $0.timestamp = [0, .max, 1 << 63, UInt64(Int64.max)][n % 4]
          $0.priority = 255
        }
      }
      if comesBack {
        _ = try await service.rabbit.look(at: queue, count: Self.forged.count)
        #expect(try await service.rabbit.waitForDepth(queue, Self.forged.count))
      }
      let handled = Collected<String>()
      let subscriber = service.subscriber {
        OnRaw(type) { delivery, context in
          _ = context.metadata
          handled.add(String(decoding: delivery.body, as: UTF8.self))
          if delivery.body.count == 1 { throw Refusal("no") }
        }
      }
      try await whileConsuming(subscriber) {
        let all = await handled.wait(for: Self.forged.count)
        #expect(Set(all ?? []) == Set((0..<Self.forged.count).map(String.init)))
        // Those that were refused are there with this reason, and none with one that they brought along.
        let dead = try service.deadLetters(type)
        #expect(try await service.rabbit.waitForDepth(dead, 10))
        let letters = try await service.rabbit.look(at: dead, count: 10)
        #expect(letters.allSatisfy { $0.cause == "handlerFailed" && $0.header("warren-last-error") == "no" })
      }
      #expect(handled.all.count == Self.forged.count)
    }
  }

  /// Everything that strangers can write reaches a log harmless.
  @Test func nothingOfAMessageReachesALogAsItIs() async throws {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\nERROR forged line"
    let lines = Lock<[String]>([])
    struct Handler: LogHandler {
      var metadata = Logger.Metadata()
      var logLevel = Logger.Level.trace
      let lines: Lock<[String]>
      subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
      }
      func log(event: LogEvent) { lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") } }
    }
    try await withTestService(Note.eventType) { service in
      let logger = Logger(label: "test") { _ in Handler(lines: lines) }
      let subscriber = service.subscriber(logger: logger) {
        On(Note.self) { note, context in
          if note.n == 1 { return context.deadLetter(evil) }
          if note.n == 2 { return context.ignore(evil) }
          if note.n == 3 { throw Refusal(evil) }
        }
      }
      let queue = try service.workQueue(Note.eventType)
      try await whileConsuming(subscriber) {
        for body in [#"{"n":1}"#, #"{"n":2}"#, #"{"n":3}"#, evil, #"{"\u{1b}[2J":1}"#] {
          try await service.put(body, into: queue) {
            $0.messageID = "\u{202e}id"
            $0.headers = ["warren-key": .string(evil), "k": .string(evil)]
          }
        }
        try await service.put("{}", into: queue) { $0.contentType = evil }
        try await service.put("{}", into: queue) { $0.type = evil }
        try await service.put("{}", into: queue) { $0.headers = ["warren-origin-exchange": .string(evil)] }
        #expect(try await service.rabbit.waitForDepth(service.deadLetters(Note.eventType), 7))
      }
      let written = lines.withLock { $0 }
      #expect(written.count { $0.contains("dead letters") } == 7)
      for line in written {
        #expect(line.unicodeScalars.allSatisfy { $0.isHarmless }, "\(line.debugDescription)")
      }
    }
  }
}
