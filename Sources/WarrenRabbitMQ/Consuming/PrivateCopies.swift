import Logging
package import Warren

/// Copies of what is published from now on, through a queue of this connection alone that goes with it.
package final class PrivateCopies: Sendable {
  private let reader: QueueReader
  private let ended: Watched<RabbitMQError?>

  private init(reader: QueueReader, ended: Watched<RabbitMQError?>) {
    self.reader = reader
    self.ended = ended
  }

  /// Copies are handed over one at a time, in the order in which they come.
  package static func open(
    of types: [EventType], on rabbit: RabbitMQ, handle: @escaping @Sendable (Delivery) async -> Void
  ) async throws(RabbitMQError) -> PrivateCopies {
    guard let first = types.first else { throw RabbitMQError(.invalidConfiguration, "no event type is named") }
    let queue = "warren.copies.\(EventID())"
    try await rabbit.topology.ensure(types.map { .exchange(of: $0) })
    // Said outright: a virtual host may have quorum as its default, and quorum queues cannot be exclusive.
    try await rabbit.topology.perform(
      .declareQueue(
        queue, passive: false, durable: false, exclusive: true, autoDelete: true,
        arguments: ["x-queue-type": "classic"]))
    for type in types {
      try await rabbit.topology.perform(.bind(queue: queue, exchange: EntityNames.exchange(of: type), key: "#"))
    }
    let handler = OnRaw(types) { delivery, _ in await handle(delivery) }
    let observer = ConsumeObserver(queue: "warren.copies")
    let failing = FailedDeliveries(
      queue: queue, owner: nil, ladder: RetryLadder([.seconds(1)]), deadLetters: nil, copies: rabbit.copies,
      publishing: rabbit.publishing, topology: rabbit.topology, observer: observer, logger: rabbit.logger)
    let processor = DeliveryProcessor(
      queue: queue, type: first, exchange: EntityNames.exchange(of: first), handlers: [:], otherwise: handler,
      middleware: [], failing: failing, observer: observer, logger: rabbit.logger)
    let ended = Watched<RabbitMQError?>(nil)
    let reader = QueueReader(
      queue: queue, connection: rabbit.consuming,
      pace: QueueReader.Pace(
        prefetch: 200, concurrency: 1, maximumBodySize: rabbit.configuration.publishing.maximumBodySize),
      process: processor.process
    ) { end in
      if case .lost(let error) = end { ended.update { $0 = $0 ?? error } }
    }
    do throws(RabbitMQError) {
      try await reader.start()
    } catch {
      _ = await reader.stop(grace: .zero)
      throw error
    }
    return PrivateCopies(reader: reader, ended: ended)
  }

  /// Why the broker has ended it.
  package var failure: RabbitMQError? { ended.value }
  package func waitUntilEnded() async { _ = await ended.wait { $0 != nil } }
  package func close() async { _ = await reader.stop(grace: .zero) }
}
