/// Sends encoded events to where other services receive them: the seam between stores and brokers.
public protocol EncodedPublisher: Sendable {
  /// Publishes each event and returns one outcome each, in the same order. Events are written in order; an outcome
  /// other than ``PublishOutcome/confirmed`` does not stop the others. Ends by the deadline of the implementation, and
  /// early, with ``PublishOutcome/notPublished(_:)`` or ``PublishOutcome/unknown(_:)``, when the task is cancelled.
  func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome]
}
