/// What a handler knows beside the event, and how it decides the event's fate without throwing.
public struct HandlerContext: Sendable {
  /// The message as it came.
  public let delivery: Delivery
  private let scope: HandlerScope

  init(delivery: Delivery, scope: HandlerScope) {
    self.delivery = delivery
    self.scope = scope
  }

  /// Id, source, time, key, correlation and headers.
  public var metadata: EventMetadata { delivery.metadata }

  /// The round of the event that this is: 1, and one more after each delayed retry. See ``RetryPolicy``.
  public var attempt: Int { delivery.attempt }

  /// Handles the event again later when the handler has returned or thrown: after `delay`, or after what the retry policy
  /// says about its round. Publishes that the handler made do not leave. After 1000 rounds it goes to the dead letters. A
  /// handler in order is run again on the same delivery after that time.
  public func retry(after delay: Duration? = nil, reason: String = "the handler asked for it") {
    scope.decide(.retry(after: delay, reason: reason))
  }

  /// Sends the event to the dead letters when the handler has returned or thrown, with this reason. Publishes that the
  /// handler made do not leave. Of several decisions the last one stands.
  public func deadLetter(_ reason: String) { scope.decide(.deadLetter(.rejected(reason))) }

  /// Acknowledges the event as deliberately not handled when the handler has returned or thrown. Publishes that the
  /// handler made do not leave.
  public func ignore(_ reason: String) { scope.decide(.ignored(reason: reason)) }
}
