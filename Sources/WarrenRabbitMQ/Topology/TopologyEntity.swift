package import Warren

/// One thing on the broker that Warren declares. The arguments per kind are part of the major version, because a queue
/// that exists with other arguments cannot be declared again.
package enum TopologyEntity: Sendable, Equatable, Hashable {
  case exchange(name: String)
  /// One that gives everything to every queue that is bound to it, whatever the routing key.
  case fanoutExchange(name: String)
  case queue(name: String, arguments: [String: HeaderValue])
  case binding(queue: String, exchange: String, key: String)

  /// The topic exchange of an event type.
  package static func exchange(of type: EventType) -> TopologyEntity {
    .exchange(name: EntityNames.exchange(of: type))
  }

  /// Where one service's events of one type wait, what it is bound with, and where its dead letters go, in the order in
  /// which they must be declared.
  package static func subscription(_ owner: QueueOwner, _ type: EventType, _ options: QueueOptions) -> [TopologyEntity]
  {
    subscription(
      [type], work: EntityNames.workQueue(of: owner, type: type),
      dead: EntityNames.deadLetterQueue(of: owner, type: type), options)
  }

  /// The same for the events of several types that wait in one queue.
  package static func subscription(
    _ types: [EventType], work: String, dead: String, _ options: QueueOptions
  ) -> [TopologyEntity] {
    let exchanges = types.map(EntityNames.exchange)
    return exchanges.map { .exchange(name: $0) } + [
      .deadLetterQueue(name: dead),
      .workQueue(name: work, deadLetters: dead, options: options),
    ]
      + exchanges.flatMap { exchange in
        options.patterns.map { .binding(queue: work, exchange: exchange, key: $0) }
      }
  }

  package static func workQueue(name: String, deadLetters: String, options: QueueOptions) -> TopologyEntity {
    var arguments: [String: HeaderValue] = [
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": .string(deadLetters),
      "x-overflow": "reject-publish",
    ]
    switch options.kind {
    case .quorum:
      arguments["x-queue-type"] = "quorum"
      // With reject-publish, which it needs, dead-lettering by the broker loses nothing either.
      arguments["x-dead-letter-strategy"] = "at-least-once"
      // The last net: 3.x has no limit of its own, 4.x drops after 20.
      arguments["x-delivery-limit"] = 100
    case .classicWithWeakerGuarantees:
      arguments["x-queue-type"] = "classic"
    }
    if options.singleActiveConsumer { arguments["x-single-active-consumer"] = true }
    return .queue(name: name, arguments: arguments)
  }

  /// Looking at dead letters returns them to the queue, and 4.x counts that as a delivery and drops them after 20. A limit
  /// of -1 would mean "none" there, but "drop at once" to 3.x: hence a number that nobody reaches.
  package static func deadLetterQueue(name: String) -> TopologyEntity {
    .queue(name: name, arguments: ["x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000])
  }

  /// Where events of a service wait before they are handled again, with as long a time to live. What has waited goes through
  /// the default exchange to the queue that its routing key names.
  package static func retryRung(of owner: QueueOwner, delay: Duration) -> [TopologyEntity] {
    let name = EntityNames.retryRung(of: owner, delay: delay)
    return [
      .fanoutExchange(name: name),
      .queue(
        name: name,
        arguments: [
          "x-queue-type": "quorum", "x-message-ttl": .int(Int64(delay / .milliseconds(1))),
          "x-dead-letter-exchange": "", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
        ]),
      .binding(queue: name, exchange: name, key: ""),
    ]
  }

  package var name: String {
    switch self {
    case .exchange(let name), .fanoutExchange(let name), .queue(let name, _): name
    case .binding(let queue, let exchange, let key): "\(exchange) -> \(queue) (\(key))"
    }
  }

  func request(passive: Bool) -> Request? {
    switch self {
    case .exchange(let name): .declareExchange(name, kind: "topic", passive: passive)
    case .fanoutExchange(let name): .declareExchange(name, kind: "fanout", passive: passive)
    case .queue(let name, let arguments):
      .declareQueue(
        name, passive: passive, durable: true, exclusive: false, autoDelete: false, arguments: passive ? [:] : arguments
      )
    case .binding(let queue, let exchange, let key): passive ? nil : .bind(queue: queue, exchange: exchange, key: key)
    }
  }
}
