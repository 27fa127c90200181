import Warren

extension Subscriber {
  /// One queue to be read.
  struct Reading: Sendable {
    var entities: [TopologyEntity]
    var processor: DeliveryProcessor
    var prefetch: Int
    var concurrency: Int
  }

  /// The queues that the handlers need.
  /// - Throws: `WarrenError` when a name, an option or a combination of handlers cannot work.
  nonisolated func plan() throws -> [Reading] {
    let owner = try QueueOwner(service: service, subscription: subscription)
    try check(
      "gracePeriod", options.gracePeriod, options.gracePeriod >= .zero && options.gracePeriod <= .seconds(1800),
      "0 s to 30 min")
    try check(
      "maximumBodySize", options.maximumBodySize, (1...(512 << 20)).contains(options.maximumBodySize),
      "1 byte to 512 MiB")

    var byType: [EventType: any DeliveryHandler] = [:]
    var otherwise: (any DeliveryHandler)?
    for handler in handlers {
      if handler.eventTypes.isEmpty, !handler.isCatchAll {
        throw WarrenError(
          .invalidConfiguration,
          "\(self) has a handler with no event type: name one, or use Otherwise for what no other handler takes")
      }
      if handler.isCatchAll {
        if otherwise != nil { throw WarrenError(.invalidConfiguration, "\(self) has more than one Otherwise handler") }
        otherwise = handler
      }
      for type in handler.eventTypes {
        try type.validate()
        if byType.updateValue(handler, forKey: type) != nil {
          throw WarrenError(
            .invalidConfiguration,
            "\(self) has two handlers for \(type): one delivery cannot succeed and fail. Make a second Subscriber with a subscription name, which has a queue of its own"
          )
        }
      }
    }
    if byType.isEmpty {
      throw WarrenError(
        .invalidConfiguration, "\(self) has no handler with an event type, so there is no queue to read")
    }
    return try byType.sorted { $0.key < $1.key }.map { type, handler in
      try reading(owner, type, handler, byType, otherwise)
    }
  }

  private nonisolated func reading(
    _ owner: QueueOwner, _ type: EventType, _ handler: any DeliveryHandler,
    _ handlers: [EventType: any DeliveryHandler],
    _ otherwise: (any DeliveryHandler)?
  ) throws -> Reading {
    let queue = handler.queueOptions
    let name = EntityNames.workQueue(of: owner, type: type)
    let prefetch = queue.prefetch ?? options.prefetch
    let concurrency = queue.concurrency ?? min(options.concurrency, prefetch)
    try check("prefetch of \(name)", prefetch, (1...65_535).contains(prefetch), "1 to 65535")
    try check(
      "concurrency of \(name)", concurrency, (1...prefetch).contains(concurrency), "1 to the prefetch, \(prefetch)")
    try check(
      "patterns of \(name)", "empty", !queue.patterns.isEmpty, "at least one routing pattern; \"#\" is everything")
    for pattern in queue.patterns {
      try check("pattern of \(name)", "\(pattern.utf8.count) bytes", pattern.utf8.count <= 255, "up to 255 bytes")
    }
    let deadLetters = EntityNames.deadLetterQueue(of: owner, type: type)
    try check(
      "the name \(deadLetters)", "\(deadLetters.utf8.count) bytes", deadLetters.utf8.count <= 255,
      "255 bytes: shorten the service, the subscription or the type")
    let processor = DeliveryProcessor(
      queue: name, type: type, exchange: EntityNames.exchange(of: type), deadLetters: deadLetters, handlers: handlers,
      otherwise: otherwise,
      middleware: options.middleware, copies: rabbit.copies, publishing: rabbit.publishing, topology: rabbit.topology,
      observer: ConsumeObserver(queue: name), logger: logger)
    return Reading(
      entities: TopologyEntity.subscription(owner, type, queue), processor: processor, prefetch: prefetch,
      concurrency: concurrency)
  }

  private nonisolated func check(
    _ field: String, _ value: some CustomStringConvertible, _ isAllowed: Bool, _ allowed: String
  ) throws(WarrenError) {
    if !isAllowed { throw WarrenError(.invalidConfiguration, "\(field) is \(value): allowed is \(allowed)") }
  }
}
