import BrokerFixture
import Testing
import Warren

@testable import WarrenRabbitMQ

/// What exists with other settings is explained, argument by argument, and left alone.
struct MismatchTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    /// What the queue is declared with before Warren comes; nil takes an argument away.
    var change: [String: HeaderValue?]
    var isDurable = true
    /// What the error says about it.
    var text: String
    var testDescription: String { name }
  }

  struct Unexpected: Error { var text: String }

  static let cases = [
    Case(
      name: "another kind",
      change: ["x-queue-type": "classic", "x-delivery-limit": nil, "x-dead-letter-strategy": nil],
      text: "x-queue-type: the queue has classic, Warren declares quorum."),
    Case(
      name: "another limit", change: ["x-delivery-limit": 20],
      text: "x-delivery-limit: the queue has 20, Warren declares 100."),
    Case(
      name: "an argument is missing", change: ["x-delivery-limit": nil],
      text: "x-delivery-limit: the queue has nothing, Warren declares 100."),
    Case(
      name: "an argument too many", change: ["x-message-ttl": 60_000],
      text: "x-message-ttl: the queue has 60000, Warren declares nothing."),
    Case(
      name: "other dead letters", change: ["x-dead-letter-routing-key": "elsewhere"],
      text: "x-dead-letter-routing-key: the queue has elsewhere, Warren declares"),
    Case(
      name: "no dead letters",
      change: ["x-dead-letter-exchange": nil, "x-dead-letter-routing-key": nil, "x-dead-letter-strategy": nil],
      text: "x-dead-letter-exchange: the queue has nothing, Warren declares"),
    Case(
      name: "single active consumer", change: ["x-single-active-consumer": true],
      text: "x-single-active-consumer: the queue has true, Warren declares nothing."),
    Case(
      name: "not durable",
      change: ["x-queue-type": "classic", "x-delivery-limit": nil, "x-dead-letter-strategy": nil], isDurable: false,
      text: "the queue has"),
  ]

  @Test(arguments: cases)
  func aQueueWithOtherSettingsIsExplainedAndKept(_ given: Case) async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let service = unique()
      try litter.service(service, type)
      let owner = try QueueOwner(service: ServiceName(service))
      let name = EntityNames.workQueue(of: owner, type: type)
      let dead = EntityNames.deadLetterQueue(of: owner, type: type)
      let entity = TopologyEntity.workQueue(name: name, deadLetters: dead, options: .init())
      let request = entity.request(passive: false)
      guard case .declareQueue(_, _, _, _, _, let declared) = request else {
        throw Unexpected(text: "\(request as Any)")
      }
      var arguments = declared
      for (argument, value) in given.change { arguments[argument] = value }
      try await rabbit.topology.perform(
        .declareQueue(
          name, passive: false, durable: given.isDurable, exclusive: false, autoDelete: false, arguments: arguments))
      #expect(try await rabbit.publishRaw(exchange: "", routingKey: name) == .confirmed)

      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) { OnRaw(type) { _, _ in } }
      let thrown = try #require(await error(RabbitMQError.self) { try await subscriber.run() })
      #expect(thrown.code == .topologyMismatch)
      #expect(thrown.replyCode == 406)
      #expect(!thrown.isRetryable)
      #expect(thrown.message.contains("the queue \"\(name)\" exists with other settings"), "\(thrown.message)")
      #expect(thrown.message.contains(given.text), "\(thrown.message)")
      for (argument, value) in declared { #expect(thrown.message.contains("\(argument)=\(value.plainText)")) }
      #expect(thrown.message.contains("topology to assume"))
      // It is the same queue, with what was in it.
      #expect(try await rabbit.depth(name) == 1)
      try await rabbit.topology.perform(
        .declareQueue(
          name, passive: false, durable: given.isDurable, exclusive: false, autoDelete: false, arguments: arguments))
    }
  }

  @Test(arguments: ["fanout", "direct", "headers"])
  func anExchangeOfAnotherKindIsExplainedAndKept(_ kind: String) async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let exchange = EntityNames.exchange(of: type)
      try await rabbit.topology.perform(.declareExchange(exchange, kind: kind, passive: false))
      let publisher = Publisher(rabbit, source: "tests")
      let thrown = try #require(await error(PublishError.self) { try await publisher.publish(Numbered(type, 1)) })
      #expect(thrown.code == .refused)
      #expect(!thrown.isRetryable)
      #expect(thrown.message.contains("the exchange \"\(exchange)\" exists with another kind or durability"))
      #expect(thrown.message.contains("Warren declares a durable topic exchange"))
      #expect(thrown.message.contains("'\(kind)'"))
      try await rabbit.topology.perform(.declareExchange(exchange, kind: kind, passive: false))

      // What it wanted can be had later: nothing is remembered.
      try await rabbit.topology.perform(.deleteExchange(exchange))
      let outcomes = await publisher.publish(encoded: [.init(type, [1])])
      #expect(outcomes.map(\.kind) == ["unroutable"])
    }
  }
}
