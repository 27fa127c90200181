import WarrenSupport

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// One message as it came from a queue.
public struct Delivery: Sendable {
  /// The event type, decided by the exchange that it came through.
  public let type: EventType
  /// The body as it came.
  public let body: Data
  /// True when the broker says that it may have been delivered before.
  public let isRedelivered: Bool
  /// The queue it came from.
  public let queue: String
  /// The routing key that it was published with.
  public let routingKey: String
  /// The round that this is: 1, and one more after each delayed retry.
  public let attempt: Int
  /// Set where the message says something else about its body than Warren does.
  package var foreignContent: ForeignContent?
  private let lazyMetadata: LazyMetadata

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
    describedBy description: any DeliveryDescription
  ) {
    self.type = type
    self.body = body
    self.isRedelivered = isRedelivered
    self.queue = queue
    self.routingKey = routingKey
    self.attempt = attempt
    self.lazyMetadata = LazyMetadata(description)
  }

  /// True when the message says that its id was made by Warren, and so is never used for two different events.
  public var hasOwnID: Bool { lazyMetadata.description.hasOwnID }

  /// Id, source, time, key, correlation and headers. Decoded when first asked for.
  public var metadata: EventMetadata { lazyMetadata.value }
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

/// Most handlers never look at the metadata, and decoding it costs as much as a small body.
private final class LazyMetadata: Sendable {
  let description: any DeliveryDescription
  private let known = InlineLock<EventMetadata?>(nil)

  init(_ description: any DeliveryDescription) { self.description = description }

  var value: EventMetadata {
    known.withLock { known in
      if let known { return known }
      let metadata = description.metadata()
      known = metadata
      return metadata
    }
  }
}
