/// Handles deliveries of one or more event types: the seam between brokers and everything that consumes.
public protocol DeliveryHandler: Sendable {
  /// The event types whose queues this handler reads. Empty for a catch-all.
  var eventTypes: [EventType] { get }
  /// True for a handler that is given what no other handler of the service takes. By default, one without event types.
  var isCatchAll: Bool { get }
  /// What its queues need.
  var queueOptions: QueueOptions { get }
  /// How its deliveries are treated. By default as the subscriber says.
  var settings: HandlerSettings { get }
  /// Where it keeps deliveries that must wait. By default it cannot, and they wait in queues of the broker.
  var parking: (any DeliveryParking)? { get }
  /// Handles one delivery. Called on a task of its own, many at once up to the subscription's concurrency. Cancelled when
  /// the service must stop; a handler that returns afterwards is not acknowledged as handled.
  func handle(_ delivery: Delivery) async -> HandlerResult
}

extension DeliveryHandler {
  /// True when it is given what no other handler takes.
  public var isCatchAll: Bool { eventTypes.isEmpty }
  /// As the subscriber says.
  public var settings: HandlerSettings { .init() }
  /// Nowhere.
  public var parking: (any DeliveryParking)? { nil }
}

/// What a ``DeliveryHandler`` returns.
public struct HandlerResult: Sendable {
  /// What is to become of the delivery.
  public var outcome: HandlerOutcome
  /// Events that the handler published and that leave before the delivery is acknowledged.
  public var collected: [CollectedEvent]
  /// True when the collected events are already safe elsewhere, committed together with the handler's effect.
  public var isCommitted: Bool

  /// Makes a result.
  public init(_ outcome: HandlerOutcome, collected: [CollectedEvent] = [], isCommitted: Bool = false) {
    self.outcome = outcome
    self.collected = collected
    self.isCommitted = isCommitted
  }
}

/// An event that was published inside a handler, with where it goes.
public struct CollectedEvent: Sendable {
  /// The event.
  public let event: EncodedEvent
  /// The publisher that it was given to.
  public let publisher: any EncodedPublisher

  /// Makes a collected event.
  public init(event: EncodedEvent, publisher: any EncodedPublisher) {
    self.event = event
    self.publisher = publisher
  }
}

/// What a handler's queues need, and how fast they are read.
public struct QueueOptions: Hashable, Sendable {
  /// Routing patterns on the type's topic exchange (`*` one word, `#` any number). `#`, everything, is the default.
  public var patterns: [String]
  /// The most deliveries that the broker sends ahead, 1 to 65,535; nil takes the subscriber's.
  public var prefetch: Int?
  /// The most handlers at once, 1 to the prefetch; nil takes the subscriber's.
  public var concurrency: Int?
  /// Only one instance of the service receives at a time. A property of the queue that cannot change later.
  public var singleActiveConsumer: Bool
  /// The kind of queue. Cannot change later.
  public var kind: QueueKind
  /// The name of a queue that several event types of the service share, which is the only way to have order across types:
  /// `<owner>.group.<group>`. Nil: each type has a queue of its own. The rules are those of service names.
  public var group: String?

  /// Makes options; everything has a default.
  public init(
    patterns: [String] = ["#"], prefetch: Int? = nil, concurrency: Int? = nil, singleActiveConsumer: Bool = false,
    kind: QueueKind = .quorum, group: String? = nil
  ) {
    self.patterns = patterns
    self.prefetch = prefetch
    self.concurrency = concurrency
    self.singleActiveConsumer = singleActiveConsumer
    self.kind = kind
    self.group = group
  }
}

/// The kind of a work queue.
public enum QueueKind: String, Hashable, Sendable, CaseIterable {
  /// Replicated, counts deliveries, dead-letters without loss.
  case quorum
  /// Faster for a single consumer and less safe: no delivery count, so a message that crashes its consumer comes back for
  /// ever; dead-lettering by the broker may lose. The name is the acceptance.
  case classicWithWeakerGuarantees
}
