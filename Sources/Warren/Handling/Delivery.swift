import WarrenSupport

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// One message as it came from a queue.
public struct Delivery: Sendable {
  // One reference instead of six: a delivery goes through many hands.
  private let message: Message

  /// The event type, decided by the exchange that it came through.
  public var type: EventType { message.type }
  /// The body as it came.
  public var body: Data { message.body }
  /// True when the broker says that it may have been delivered before.
  public var isRedelivered: Bool { message.isRedelivered }
  /// The queue it came from.
  public var queue: String { message.queue }
  /// The routing key that it was published with.
  public var routingKey: String { message.routingKey }
  /// The round that this is: 1, and one more after each delayed retry.
  public var attempt: Int { message.attempt }
  /// Set where the message says something else about its body than Warren does.
  package var foreignContent: ForeignContent? { message.foreignContent }

  /// Makes a delivery. `metadata` is called at most once, when somebody asks for it; `hasOwnID` each time.
  public init(
    type: EventType, body: Data, isRedelivered: Bool = false, queue: String = "", routingKey: String? = nil,
    attempt: Int = 1, hasOwnID: @escaping @Sendable () -> Bool = { false },
    metadata: @escaping @Sendable () -> EventMetadata
  ) {
    self.init(
      type: type, body: body, isRedelivered: isRedelivered, queue: queue, routingKey: routingKey ?? type.name,
      attempt: attempt, describedBy: MetadataClosures(hasOwnID: hasOwnID, make: metadata))
  }

  /// Makes a delivery whose metadata is somewhere else yet.
  package init(
    type: EventType, body: Data, isRedelivered: Bool, queue: String, routingKey: String, attempt: Int,
    foreignContent: ForeignContent? = nil, describedBy description: any DeliveryDescription
  ) {
    message = Message(
      type: type, body: body, isRedelivered: isRedelivered, queue: queue, routingKey: routingKey, attempt: attempt,
      foreignContent: foreignContent, description: description)
  }

  /// True when the message says that its id was made by Warren, and so is never used for two different events.
  public var hasOwnID: Bool { message.description.hasOwnID }

  /// Id, source, time, key, correlation and headers. Decoded when first asked for.
  public var metadata: EventMetadata { message.metadata }
}

/// Where a delivery's metadata comes from.
package protocol DeliveryDescription: Sendable {
  var hasOwnID: Bool { get }
  /// Called at most once for a delivery.
  func metadata() -> EventMetadata
}

private struct MetadataClosures: DeliveryDescription {
  let isOwn: @Sendable () -> Bool
  let make: @Sendable () -> EventMetadata
  init(hasOwnID: @escaping @Sendable () -> Bool, make: @escaping @Sendable () -> EventMetadata) {
    isOwn = hasOwnID
    self.make = make
  }
  var hasOwnID: Bool { isOwn() }
  func metadata() -> EventMetadata { make() }
}

private final class Message: Sendable {
  let type: EventType
  let body: Data
  let isRedelivered: Bool
  let queue: String
  let routingKey: String
  let attempt: Int
  let foreignContent: ForeignContent?
  let description: any DeliveryDescription
  // Most handlers never look at the metadata, and decoding it costs as much as a small body.
  private let known = InlineLock<EventMetadata?>(nil)

  init(
    type: EventType, body: Data, isRedelivered: Bool, queue: String, routingKey: String, attempt: Int,
    foreignContent: ForeignContent?, description: any DeliveryDescription
  ) {
    self.type = type
    self.body = body
    self.isRedelivered = isRedelivered
    self.queue = queue
    self.routingKey = routingKey
    self.attempt = attempt
    self.foreignContent = foreignContent
    self.description = description
  }

  var metadata: EventMetadata {
    known.withLock { known in
      if let known { return known }
      let metadata = description.metadata()
      known = metadata
      return metadata
    }
  }
}
