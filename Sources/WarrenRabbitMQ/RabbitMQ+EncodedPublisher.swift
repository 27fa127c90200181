public import Warren

/// A log's relay publishes straight to the broker: `log.relay(to: rabbit)`.
extension RabbitMQ: EncodedPublisher {
  /// Publishes events that are encoded already, in order, with one outcome each, as ``Publisher/publish(encoded:)`` does.
  public func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    // The source of a publisher is for events that it encodes.
    await Publisher(self, source: "relay").publish(encoded: events)
  }
}
