public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// What an append may say about its events.
public struct AppendOptions: Sendable {
  /// The same for all that follows from one first cause, at most 255 bytes; nil takes the one of the event that is being
  /// handled.
  public var correlationID: String?
  /// The id of what led to this; nil takes the id of the event that is being handled.
  public var causationID: String?
  /// Who did it: a user, a job.
  public var actor: String?
  /// When it happened, in the years 0 to 9999; nil means now. When it was recorded is always written beside it.
  public var time: Date?
  /// The ordering key of events that are published; nil means the name of the stream.
  public var key: String?
  /// Further headers, with the rules of ``PublishOptions/headers``.
  public var headers: [String: HeaderValue]

  /// Makes options; everything has a default.
  public init(
    correlationID: String? = nil, causationID: String? = nil, actor: String? = nil, time: Date? = nil,
    key: String? = nil, headers: [String: HeaderValue] = [:]
  ) {
    self.correlationID = correlationID
    self.causationID = causationID
    self.actor = actor
    self.time = time
    self.key = key
    self.headers = headers
  }

  static var actorHeader: String { EventHeaders.actor }
}

/// Events for one stream, as a part of an append to several.
public struct StreamAppend: Sendable {
  enum Content: Sendable {
    case typed([any Event])
    case encoded([EncodedEvent], isPublic: Bool)
  }
  /// The stream.
  public let stream: StreamName
  /// What is expected of it.
  public let expecting: ExpectedVersion
  let content: Content

  /// Without events it only checks what is expected: a condition on a stream that is not written.
  public init(_ events: [any Event], to stream: StreamName, expecting: ExpectedVersion = .any) {
    self.stream = stream
    self.expecting = expecting
    content = .typed(events)
  }

  /// Events that are encoded already. `publishes`: the relay sends them.
  public init(
    encoded events: [EncodedEvent], to stream: StreamName, expecting: ExpectedVersion = .any, publishes: Bool = false
  ) {
    self.stream = stream
    self.expecting = expecting
    content = .encoded(events, isPublic: publishes)
  }
}
