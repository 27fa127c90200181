#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// An event as bytes, with its metadata: what stores, relays and brokers exchange without knowing its Swift type.
public struct EncodedEvent: Hashable, Sendable {
  /// Type, id, source, time, key and the rest.
  public var metadata: EventMetadata
  /// The event's JSON and nothing around it.
  public var body: Data
  /// The routing key on the type's exchange; nil means the event type.
  public var routingKey: String?
  /// How long the event may wait in a queue, to the millisecond; nil means without end.
  public var expiry: Duration?
  /// True when the id was made by Warren and so is never used for two different events.
  public var hasOwnID: Bool

  /// Makes an encoded event from its parts.
  public init(
    metadata: EventMetadata, body: Data, routingKey: String? = nil, expiry: Duration? = nil, hasOwnID: Bool = true
  ) {
    self.metadata = metadata
    self.body = body
    self.routingKey = routingKey
    self.expiry = expiry
    self.hasOwnID = hasOwnID
  }
}
