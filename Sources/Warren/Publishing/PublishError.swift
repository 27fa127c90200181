/// An event was not published, or it is not known whether it was.
public struct PublishError: Error, Sendable, CustomStringConvertible {
  /// The kinds of ``PublishError``.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    private let name: String
    private init(_ name: String) { self.name = name }
    /// The text for messages and logs.
    public var description: String { name }

    /// See ``PublishOutcome/unroutable(_:)``.
    public static let unroutable = Code("unroutable")
    /// See ``PublishOutcome/refused(_:)``.
    public static let refused = Code("refused")
    /// See ``PublishOutcome/congested(_:)``.
    public static let congested = Code("congested")
    /// See ``PublishOutcome/notPublished(_:)``.
    public static let notPublished = Code("notPublished")
    /// See ``PublishOutcome/unknown(_:)``.
    public static let unknown = Code("unknown")
  }

  /// What kind of error this is.
  public let code: Code
  /// The event's id: publish again with it, and consumers can tell the repeat.
  public let id: EventID?
  /// The event's type.
  public let type: EventType
  /// What happened and what to do about it.
  public let message: String

  /// True when the same publish may succeed later.
  public var isRetryable: Bool { code != .refused }
  /// True when the event may be in queues although this error was thrown.
  public var mayHaveBeenPublished: Bool { code == .unknown || code == .congested }

  /// The error for an outcome; nil when it was confirmed.
  public init?(_ outcome: PublishOutcome, of event: EventMetadata) {
    switch outcome {
    case .confirmed: return nil
    case .unroutable(let text): (code, message) = (.unroutable, text)
    case .refused(let text): (code, message) = (.refused, text)
    case .congested(let text): (code, message) = (.congested, text)
    case .notPublished(let text): (code, message) = (.notPublished, text)
    case .unknown(let text): (code, message) = (.unknown, text)
    }
    id = event.id
    type = event.type
  }

  /// The text for messages and logs.
  public var description: String {
    "\(code): \(type) \(id?.text ?? "without id"): \(message)"
  }
}

/// Some events of a batch were not published. The others were: look at ``outcomes``.
public struct BatchPublishError: Error, Sendable, CustomStringConvertible {
  /// One outcome per event, in order.
  public let outcomes: [PublishOutcome]
  /// The first failure in order.
  public let first: PublishError

  /// Makes an error from the outcomes of a batch and the first failure among them.
  public init(outcomes: [PublishOutcome], first: PublishError) {
    self.outcomes = outcomes
    self.first = first
  }

  /// How many were confirmed.
  public var confirmed: Int { outcomes.count { $0.isConfirmed } }
  /// True when publishing all those that failed may succeed later: none of them was refused.
  public var isRetryable: Bool {
    !outcomes.contains { if case .refused = $0 { true } else { false } }
  }
  /// True when one or more of those that failed may be in queues.
  public var mayHaveBeenPublished: Bool {
    outcomes.contains { outcome in
      switch outcome {
      case .unknown, .congested: true
      case .confirmed, .unroutable, .refused, .notPublished: false
      }
    }
  }

  /// The text for messages and logs.
  public var description: String {
    "\(confirmed) of \(outcomes.count) events were confirmed; the first failure: \(first)"
  }
}
