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
  private let ownID: @Sendable () -> Bool

  /// Makes a delivery. `metadata` is called at most once, when somebody asks for it; `hasOwnID` each time.
  public init(
    type: EventType, body: Data, isRedelivered: Bool = false, queue: String = "", routingKey: String? = nil,
    attempt: Int = 1, hasOwnID: @escaping @Sendable () -> Bool = { false },
    metadata: @escaping @Sendable () -> EventMetadata
  ) {
    self.type = type
    self.body = body
    self.isRedelivered = isRedelivered
    self.queue = queue
    self.routingKey = routingKey ?? type.name
    self.attempt = attempt
    self.lazyMetadata = LazyMetadata(metadata)
    self.ownID = hasOwnID
  }

  /// True when the message says that its id was made by Warren, and so is never used for two different events.
  public var hasOwnID: Bool { ownID() }

  /// Id, source, time, key, correlation and headers. Decoded when first asked for.
  public var metadata: EventMetadata { lazyMetadata.value }
}

/// Most handlers never look at the metadata, and decoding it costs as much as a small body.
private final class LazyMetadata: Sendable {
  private enum State {
    case pending(@Sendable () -> EventMetadata)
    case known(EventMetadata)
  }
  private let state: Lock<State>

  init(_ make: @escaping @Sendable () -> EventMetadata) { state = Lock(.pending(make)) }

  var value: EventMetadata {
    state.withLock { state in
      switch state {
      case .known(let metadata): return metadata
      case .pending(let make):
        let metadata = make()
        state = .known(metadata)
        return metadata
      }
    }
  }
}
