#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// What one publish may say beyond the event itself.
public struct PublishOptions: Sendable {
  /// An id of your own; nil makes a new one. Publishing the same event again with the same id lets consumers see that
  /// it is a repeat.
  public var id: EventID?
  /// The ordering key.
  public var key: String?
  /// CloudEvents' `subject`.
  public var subject: String?
  /// The routing key on the type's topic exchange; nil means the event type. At most 255 bytes.
  public var routingKey: String?
  /// How long the event may wait in a queue before it expires, to the millisecond, at most 3650 days; nil means
  /// without end.
  public var expiry: Duration?
  /// The correlation id, at most 255 bytes; nil takes the one of the event that is being handled, or none.
  public var correlationID: String?
  /// Further headers. Keys have 1 to 255 bytes; those that begin with `warren-`, `cloudEvents:` or `x-`
  /// are reserved, and `CC` and `BCC`, with which RabbitMQ routes.
  public var headers: [String: HeaderValue]
  /// When it happened, in the years 0 to 9999; nil means now.
  public var time: Date?
  /// The id of what led to it, where that is not the event that is being handled.
  package var causationID: String?
  /// Who did it.
  package var actor: String?

  /// Makes options; everything has a default.
  public init(
    id: EventID? = nil, key: String? = nil, subject: String? = nil, routingKey: String? = nil,
    expiry: Duration? = nil, correlationID: String? = nil, headers: [String: HeaderValue] = [:], time: Date? = nil
  ) {
    self.id = id
    self.key = key
    self.subject = subject
    self.routingKey = routingKey
    self.expiry = expiry
    self.correlationID = correlationID
    self.headers = headers
    self.time = time
  }

  /// Why these options cannot be used.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidMetadata``.
  package func validate() throws(WarrenError) {
    for (key, value) in headers {
      guard value.isFinite else {
        throw WarrenError(
          .invalidMetadata, "the header \"\(key.shown(80))\" holds a number that no broker reads: it must be finite")
      }
      guard (1...255).contains(key.utf8.count) else {
        throw WarrenError(
          .invalidMetadata,
          "the name of the header \"\(key.shown(40))\" has \(key.utf8.count) bytes: it must have 1 to 255")
      }
      if key == "CC" || key == "BCC" || ["warren-", "cloudEvents:", "x-"].contains(where: key.hasPrefix) {
        throw WarrenError(
          .invalidMetadata, "the header \"\(key.shown(80))\" is reserved: choose another name, without this prefix")
      }
    }
    for (what, text) in [("routing key", routingKey), ("correlation id", correlationID)] {
      if let text, text.utf8.count > 255 {
        throw WarrenError(.invalidMetadata, "the \(what) has \(text.utf8.count) bytes: it must have at most 255")
      }
    }
    if let expiry, expiry < .zero {
      throw WarrenError(.invalidMetadata, "expiry is \(expiry): it must not be negative")
    }
    // RabbitMQ closes the channel at more.
    if let expiry, expiry > .seconds(3650 * 86_400) {
      throw WarrenError(.invalidMetadata, "expiry is \(expiry): it must be at most 3650 days")
    }
    if let time, !time.isRFC3339 {
      throw WarrenError(.invalidMetadata, "the time of the event is outside the years 0 to 9999")
    }
  }
}
