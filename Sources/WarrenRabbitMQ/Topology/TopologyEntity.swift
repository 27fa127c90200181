package import Warren

/// One thing on the broker that Warren declares. The arguments per kind are part of the major version, because a queue
/// that exists with other arguments cannot be declared again.
package enum TopologyEntity: Sendable, Equatable, Hashable {
  case exchange(name: String)
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
    let work = EntityNames.workQueue(of: owner, type: type)
    let dead = EntityNames.deadLetterQueue(of: owner, type: type)
    let exchange = EntityNames.exchange(of: type)
    return [
      .exchange(name: exchange),
      .deadLetterQueue(name: dead),
      .workQueue(name: work, deadLetters: dead, options: options),
    ] + options.patterns.map { .binding(queue: work, exchange: exchange, key: $0) }
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

  package var name: String {
    switch self {
    case .exchange(let name), .queue(let name, _): name
    case .binding(let queue, let exchange, let key): "\(exchange) -> \(queue) (\(key))"
    }
  }

  func request(passive: Bool) -> Request? {
    switch self {
    case .exchange(let name): .declareExchange(name, kind: "topic", passive: passive)
    case .queue(let name, let arguments):
      .declareQueue(
        name, passive: passive, durable: true, exclusive: false, autoDelete: false, arguments: passive ? [:] : arguments
      )
    case .binding(let queue, let exchange, let key): passive ? nil : .bind(queue: queue, exchange: exchange, key: key)
    }
  }
}
