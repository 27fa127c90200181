/// Who owns a queue: a service, or one named subscription of it.
///
/// A named subscription is a second, independent reader of the same events inside one service. Its queues carry
/// `<service>_<subscription>` where the service's own carry `<service>`; neither part may contain `_`. That owner has at
/// most 120 bytes, so that `<owner>.dead.<type>` fits into the 255 bytes of a queue's name.
public struct QueueOwner: Hashable, Sendable, CustomStringConvertible {
  /// The service.
  public let service: ServiceName
  /// The name of the subscription, if it is not the service's own.
  public let subscription: String?

  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidName``.
  public init(service: ServiceName, subscription: String? = nil) throws(WarrenError) {
    try service.validate()
    if let subscription, let problem = NameRules.problem(withOwner: subscription) {
      throw WarrenError(.invalidName, "subscription name \"\(subscription.shown(64))\" \(problem)")
    }
    let length = service.name.utf8.count + (subscription.map { $0.utf8.count + 1 } ?? 0)
    guard length <= 120 else {
      throw WarrenError(
        .invalidName,
        "the service \"\(service)\" and its subscription \"\(subscription ?? "")\" have \(length) bytes with the '_' "
          + "between them: queue names have room for 120 bytes")
    }
    self.service = service
    self.subscription = subscription
  }

  /// The text for messages and logs.
  public var description: String { subscription.map { "\(service.name)_\($0)" } ?? service.name }
}
