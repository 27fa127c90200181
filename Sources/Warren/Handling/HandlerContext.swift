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

  /// Sends the event to the dead letters when the handler has returned or thrown, with this reason. Publishes that the
  /// handler made do not leave. Of several decisions the last one stands.
  public func deadLetter(_ reason: String) { scope.decide(.deadLetter(.rejected(reason))) }

  /// Acknowledges the event as deliberately not handled when the handler has returned or thrown. Publishes that the
  /// handler made do not leave.
  public func ignore(_ reason: String) { scope.decide(.ignored(reason: reason)) }
}
