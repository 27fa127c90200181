import CRabbitMQ
import Foundation
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What is declared today is what was declared yesterday, down to the types of the arguments.
@Suite struct GoldenArgumentsTests {
  private static let golden = URL(filePath: #filePath).deletingLastPathComponent().appending(
    path: "Golden/arguments.txt")

  private static let options: [(String, QueueOptions)] = [
    ("quorum", .init()), ("quorum, single active consumer", .init(singleActiveConsumer: true)),
    ("classic", .init(kind: .classicWithWeakerGuarantees)),
    ("classic, single active consumer", .init(singleActiveConsumer: true, kind: .classicWithWeakerGuarantees)),
  ]

  @Test func everyKindIsDeclaredAsTheGoldenFileSays() throws {
    let (work, dead) = ("mailer.user.created", "mailer.dead.user.created")
    var text = "\nexchange\n" + (try declared(.exchange(of: "user.created")))
    for (name, options) in Self.options {
      text += "\nwork queue, \(name)\n" + (try declared(.workQueue(name: work, deadLetters: dead, options: options)))
    }
    text += "\ndead-letter queue\n" + (try declared(.deadLetterQueue(name: dead)))
    text += "\nretry rung\n"
    for entity in TopologyEntity.retryRung(of: try QueueOwner(service: "mailer"), delay: .seconds(60)) {
      text += try declared(entity)
    }
    text += "\nbinding\n" + (try declared(.binding(queue: work, exchange: "events.user.created", key: "#")))

    let golden = try String(contentsOf: Self.golden, encoding: .utf8).split(
      separator: "\n", omittingEmptySubsequences: false
    )
    .drop { $0.hasPrefix("#") }.joined(separator: "\n")
    #expect(text == golden, "now declared:\n\(text)")
  }

  @Test func aSubscriptionDeclaresItsKindsInAnOrderThatWorks() throws {
    let owner = try QueueOwner(service: "mailer")
    let options = QueueOptions(patterns: ["user.#", "*.eu"], singleActiveConsumer: true)
    #expect(
      TopologyEntity.subscription(owner, "user.created", options) == [
        .exchange(of: "user.created"), .deadLetterQueue(name: "mailer.dead.user.created"),
        .workQueue(name: "mailer.user.created", deadLetters: "mailer.dead.user.created", options: options),
        .binding(queue: "mailer.user.created", exchange: "events.user.created", key: "user.#"),
        .binding(queue: "mailer.user.created", exchange: "events.user.created", key: "*.eu"),
      ])
  }

  /// RabbitMQ compares nothing then, and there is no passive binding.
  @Test func lookingAsksForNothingButTheName() throws {
    let queue = TopologyEntity.workQueue(name: "q", deadLetters: "d", options: .init())
    #expect(try declared(queue, passive: true).contains("queue.declare \"q\" durable=1 passive=1"))
    #expect(try !declared(queue, passive: true).contains("x-"))
    #expect(try declared(.exchange(name: "x"), passive: true).contains("passive=1"))
    #expect(TopologyEntity.binding(queue: "q", exchange: "x", key: "#").request(passive: true) == nil)
  }

  // MARK: From the wire

  /// The frame that is sent for an entity, in words.
  private func declared(_ entity: TopologyEntity, passive: Bool = false) throws -> String {
    let request = try #require(entity.request(passive: passive))
    let pair = try SocketPair()
    var out = OutBuffer()
    MethodEncoder.append(request, channel: 1, to: &out)
    _ = out.flush(to: pair.writer)
    let frame = pair.readAll()
    try #require(frame.count > 12 && frame[0] == 1 && frame.last == 0xce)
    let method = frame[7..<11].reduce(0) { $0 << 8 | UInt32($1) }
    let arguments = Array(frame[11...].dropLast())
    switch method {
    case 40 << 16 | 10:
      return try AMQPOracle.decodeMethod(method, arguments, as: amqp_exchange_declare_t.self) {
        "  exchange.declare \"\(String($0.exchange))\" kind=\(String($0.type)) durable=\($0.durable) passive=\($0.passive)"
          + " auto-delete=\($0.auto_delete) internal=\($0.`internal`) no-wait=\($0.nowait)\n"
          + lines(AMQPOracle.entries($0.arguments))
      }
    case 50 << 16 | 10:
      return try AMQPOracle.decodeMethod(method, arguments, as: amqp_queue_declare_t.self) {
        "  queue.declare \"\(String($0.queue))\" durable=\($0.durable) passive=\($0.passive) exclusive=\($0.exclusive)"
          + " auto-delete=\($0.auto_delete) no-wait=\($0.nowait)\n" + lines(AMQPOracle.entries($0.arguments))
      }
    case 50 << 16 | 20:
      return try AMQPOracle.decodeMethod(method, arguments, as: amqp_queue_bind_t.self) {
        "  queue.bind queue=\"\(String($0.queue))\" exchange=\"\(String($0.exchange))\" key=\"\(String($0.routing_key))\""
          + " no-wait=\($0.nowait)\n" + lines(AMQPOracle.entries($0.arguments))
      }
    default: throw Unknown(method: method)
    }
  }

  private struct Unknown: Error { var method: UInt32 }

  private func lines(_ arguments: [AMQPOracle.Entry]) -> String {
    arguments.map { entry in
      let value =
        switch entry.value {
        case .utf8(let text): "S \"\(String(decoding: text, as: UTF8.self))\""
        case .i64(let number): "l \(number)"
        case .bool(let flag): "t \(flag)"
        default: "\(entry.value)"
        }
      return "    \(entry.key) \(value)\n"
    }.joined()
  }
}
