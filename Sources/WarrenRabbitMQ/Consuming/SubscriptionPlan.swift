import Warren

extension Subscriber {
  /// One queue to be read.
  struct Reading: Sendable {
    var entities: [TopologyEntity]
    var processor: DeliveryProcessor
    var pace: QueueReader.Pace
    /// Where its handlers keep deliveries that must wait.
    var parkings: [any DeliveryParking]
  }

  /// One queue, before it is planned.
  private struct Queue {
    var name: String
    var deadLetters: String
    var types: [EventType]
    var handlers: [any DeliveryHandler]
    var options: QueueOptions
    var order: (@Sendable (Delivery) -> String?)?
  }

  /// The queues that the handlers need.
  /// - Throws: `WarrenError` when a name, an option or a combination of handlers cannot work.
  nonisolated func plan() throws -> [Reading] {
    let owner = try QueueOwner(service: service, subscription: subscription)
    try checkOptions()
    var byType: [EventType: any DeliveryHandler] = [:]
    var otherwise: (any DeliveryHandler)?
    for handler in handlers {
      if handler.eventTypes.isEmpty, !handler.isCatchAll {
        throw invalid(
          "\(self) has a handler with no event type: name one, or use Otherwise for what no other handler takes")
      }
      if handler.isCatchAll {
        if otherwise != nil { throw invalid("\(self) has more than one Otherwise handler") }
        otherwise = handler
      }
      try check(handler)
      for type in handler.eventTypes {
        try type.validate()
        if byType.updateValue(handler, forKey: type) != nil {
          throw invalid(
            "\(self) has two handlers for \(type): one delivery cannot succeed and fail. Make a second Subscriber with a subscription name, which has a queue of its own"
          )
        }
      }
    }
    if byType.isEmpty { throw invalid("\(self) has no handler with an event type, so there is no queue to read") }
    return try queues(owner, byType).map { try reading(owner, $0, byType, otherwise) }
  }

  // MARK: Queues

  /// One for each type that is in no group, and one for each group.
  private nonisolated func queues(
    _ owner: QueueOwner, _ byType: [EventType: any DeliveryHandler]
  ) throws -> [Queue] {
    var queues: [String: Queue] = [:]
    for (type, handler) in byType.sorted(by: { $0.key < $1.key }) {
      let options = handler.queueOptions
      let (name, deadLetters) =
        if let group = options.group {
          (
            try EntityNames.groupQueue(of: owner, group: group),
            try EntityNames.groupDeadLetterQueue(of: owner, group: group)
          )
        } else {
          (EntityNames.workQueue(of: owner, type: type), EntityNames.deadLetterQueue(of: owner, type: type))
        }
      let order = handler.settings.order
      if order != nil, options.group == nil, handler.eventTypes.count > 1 {
        throw invalid(
          "\(self) wants \(handler.eventTypes.map(\.name).joined(separator: ", ")) in order, but each of these types has a queue of its own, and there is no order across queues. Give the handler a group: QueueOptions(group: …)"
        )
      }
      if order != nil, options.kind != .quorum {
        throw invalid(
          "\(self) wants \(type) in order from a classic queue, which does not count how often a delivery came back: use a quorum queue"
        )
      }
      var queue =
        queues[name]
        ?? Queue(name: name, deadLetters: deadLetters, types: [], handlers: [], options: options, order: order)
      if queue.options != options {
        throw invalid("the handlers of the group queue \(name) have different QueueOptions: give them the same")
      }
      if (queue.order == nil) != (order == nil) {
        throw invalid(
          "some handlers of the group queue \(name) are in order and some are not: an event that is tried again would be overtaken. Give all of them an order, or none"
        )
      }
      queue.types.append(type)
      queue.handlers.append(handler)
      queues[name] = queue
    }
    return queues.values.sorted { $0.name < $1.name }
  }

  private nonisolated func reading(
    _ owner: QueueOwner, _ queue: Queue, _ handlers: [EventType: any DeliveryHandler],
    _ otherwise: (any DeliveryHandler)?
  ) throws -> Reading {
    let name = queue.name
    var queueOptions = queue.options
    if queue.order != nil { queueOptions.singleActiveConsumer = true }
    let prefetch = queueOptions.prefetch ?? options.prefetch
    let concurrency = queueOptions.concurrency ?? min(options.concurrency, prefetch)
    try check("prefetch of \(name)", prefetch, (1...65_535).contains(prefetch), "1 to 65535")
    try check(
      "concurrency of \(name)", concurrency, (1...prefetch).contains(concurrency), "1 to the prefetch, \(prefetch)")
    try check(
      "patterns of \(name)", "empty", !queueOptions.patterns.isEmpty,
      "at least one routing pattern; \"#\" is everything")
    for pattern in queueOptions.patterns {
      try check("pattern of \(name)", "\(pattern.utf8.count) bytes", pattern.utf8.count <= 255, "up to 255 bytes")
    }
    try check(
      "the name \(queue.deadLetters)", "\(queue.deadLetters.utf8.count) bytes", queue.deadLetters.utf8.count <= 255,
      "255 bytes: shorten the service, the subscription or the type")
    let observer = ConsumeObserver(queue: name)
    let failing = FailedDeliveries(
      queue: name, owner: owner, ladder: RetryLadder(options.retryLadder), deadLetters: queue.deadLetters,
      copies: rabbit.copies, publishing: rabbit.publishing, topology: rabbit.topology, observer: observer,
      logger: logger)
    let type = queue.options.group == nil ? queue.types.first : nil
    let processor = DeliveryProcessor(
      queue: name, type: type, exchange: type.map(EntityNames.exchange), handlers: handlers, otherwise: otherwise,
      middleware: options.middleware, defaults: .init(retry: options.retry, timeout: options.handlerTimeout),
      failing: failing, observer: observer, logger: logger)
    let order: (@Sendable (IncomingMessage) -> String?)? =
      if queue.order == nil { nil } else { { processor.orderKey(of: $0) } }
    return Reading(
      entities: TopologyEntity.subscription(
        queue.types, work: name, dead: queue.deadLetters, queueOptions),
      processor: processor,
      pace: QueueReader.Pace(
        prefetch: prefetch, concurrency: concurrency, maximumBodySize: options.maximumBodySize,
        window: window(queueOptions), order: order),
      parkings: queue.handlers.compactMap(\.parking).reduce(into: []) { parkings, parking in
        if !parkings.contains(where: { $0.isSame(as: parking) }) { parkings.append(parking) }
      })
  }

  /// Classic queues count no returns, and what a single active consumer receives is to stay in order.
  private nonisolated func window(_ options: QueueOptions) -> CrashWindow.Kind {
    if options.kind != .quorum { return .open }
    return options.singleActiveConsumer ? .inOrder : .probing
  }

  // MARK: Checks

  private nonisolated func checkOptions() throws(WarrenError) {
    try check(
      "gracePeriod", options.gracePeriod, options.gracePeriod >= .zero && options.gracePeriod <= .seconds(1800),
      "0 s to 30 min")
    try check(
      "maximumBodySize", options.maximumBodySize, (1...(512 << 20)).contains(options.maximumBodySize),
      "1 byte to 512 MiB")
    try check(
      "handlerTimeout", options.handlerTimeout,
      options.handlerTimeout >= .milliseconds(1) && options.handlerTimeout <= .seconds(1500), "1 ms to 25 min")
    if let problem = RetryLadder.problem(with: options.retryLadder) { throw invalid("retryLadder \(problem)") }
    if let problem = options.retry.problem { throw invalid("the retry policy of \(self): \(problem)") }
  }

  private nonisolated func check(_ handler: any DeliveryHandler) throws(WarrenError) {
    let types = handler.isCatchAll ? "Otherwise" : handler.eventTypes.map(\.name).joined(separator: ", ")
    if let problem = handler.settings.retry?.problem { throw invalid("the retry policy for \(types): \(problem)") }
    if let timeout = handler.settings.timeout {
      try check(
        "the timeout for \(types)", timeout, timeout >= .milliseconds(1) && timeout <= .seconds(1500),
        "1 ms to 25 min")
    }
  }

  private nonisolated func check(
    _ field: String, _ value: some CustomStringConvertible, _ isAllowed: Bool, _ allowed: String
  ) throws(WarrenError) {
    if !isAllowed { throw invalid("\(field) is \(value): allowed is \(allowed)") }
  }

  private nonisolated func invalid(_ text: String) -> WarrenError { WarrenError(.invalidConfiguration, text) }
}
