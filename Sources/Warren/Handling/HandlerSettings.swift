/// How a handler's deliveries are treated around it: when it fails, when it takes too long, and in which order.
public struct HandlerSettings: Sendable {
  /// What is done when it throws; nil takes the subscriber's policy.
  public var retry: RetryPolicy?
  /// How long one run may take, 1 ms to 25 min; nil takes the subscriber's.
  public var timeout: Duration?
  /// The key whose events are handled one after the other, in the order of the queue, while other keys go on; a nil key has
  /// no order. Nil when order does not matter.
  public var order: (@Sendable (Delivery) -> String?)?
  /// What is done with events that somebody replays from a store.
  public var replays = ReplayHandling.ignore

  /// Makes settings; everything has a default.
  public init(
    retry: RetryPolicy? = nil, timeout: Duration? = nil, order: (@Sendable (Delivery) -> String?)? = nil
  ) {
    self.retry = retry
    self.timeout = timeout
    self.order = order
  }
}

/// A handler with other settings than its own.
public struct ConfiguredHandler<Base: DeliveryHandler>: DeliveryHandler {
  private let base: Base
  /// How its deliveries are treated.
  public let settings: HandlerSettings

  init(_ base: Base, _ change: (inout HandlerSettings) -> Void) {
    self.base = base
    var settings = base.settings
    change(&settings)
    self.settings = settings
  }

  /// The event types whose queues it reads.
  public var eventTypes: [EventType] { base.eventTypes }
  /// True when it is given what no other handler takes.
  public var isCatchAll: Bool { base.isCatchAll }
  /// What its queues need.
  public var queueOptions: QueueOptions { base.queueOptions }
  /// Where it keeps deliveries that must wait, if it can.
  public var parking: (any DeliveryParking)? { base.parking }
  /// Runs the handler on one delivery.
  public func handle(_ delivery: Delivery) async -> HandlerResult { await base.handle(delivery) }
}

extension DeliveryHandler {
  /// The same handler with another policy for what it throws.
  public func retry(_ policy: RetryPolicy) -> ConfiguredHandler<Self> { ConfiguredHandler(self) { $0.retry = policy } }

  /// The same handler, which may run so long. It is cancelled then and counts as failed; one that does not end within 5 s
  /// of that is given up: its event goes to the dead letters with the cause `timedOut`, because it may still be at work.
  public func timeout(_ limit: Duration) -> ConfiguredHandler<Self> { ConfiguredHandler(self) { $0.timeout = limit } }

  /// The same handler, which takes events with the same key one after the other, in the order of the queue. Its queues have
  /// a single active consumer, and a failing event is tried again before its successors.
  public func ordered(by key: @escaping @Sendable (Delivery) -> String?) -> ConfiguredHandler<Self> {
    ConfiguredHandler(self) { $0.order = key }
  }

  /// The same handler, with another answer to events that are replayed from a store.
  public func replays(_ handling: ReplayHandling) -> ConfiguredHandler<Self> {
    ConfiguredHandler(self) { $0.replays = handling }
  }

  /// The same handler, in order by the key that the publisher gave to each event.
  public func orderedByKey() -> ConfiguredHandler<Self> { ordered { $0.metadata.key } }
}
