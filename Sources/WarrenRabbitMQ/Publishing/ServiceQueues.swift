public import Warren

/// Publishes events straight into the work queues of one service, through the default exchange: nobody else gets them. For
/// replays from a store.
public struct ServiceQueues: EncodedPublisher {
  private let rabbit: RabbitMQ
  private let owner: QueueOwner

  init(_ rabbit: RabbitMQ, _ owner: QueueOwner) {
    self.rabbit = rabbit
    self.owner = owner
  }

  /// Publishes events in order, each into the service's queue for its type; one outcome each.
  /// ``PublishOutcome/unroutable(_:)``: the service has no queue for that type.
  public func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    let stream = PublishStream(channel: rabbit.events, chunk: 64, isBatch: true)
    var types: [EventType] = []
    for var event in events {
      let type = event.metadata.type
      types.append(type)
      event.routingKey = EntityNames.workQueue(of: owner, type: type)
      do throws(WarrenError) {
        let head = try PublishHead(event, exchange: "")
        await stream.add(PublishRequest(exchange: "", head: head, body: event.body))
      } catch {
        stream.add(settled: .refused(error.message))
      }
    }
    return zip(await stream.finish(), types).map { outcome, type in
      guard case .unroutable = outcome else { return rabbit.events.explained(outcome) }
      return .unroutable(
        "\(owner) has no queue \(EntityNames.workQueue(of: owner, type: type)): it has never run with this type")
    }
  }
}

extension RabbitMQ {
  /// The work queues of a service, to publish into.
  /// - Throws: `WarrenError` when the name breaks the rules.
  public func queues(of service: ServiceName, subscription: String? = nil) throws(WarrenError) -> ServiceQueues {
    ServiceQueues(self, try QueueOwner(service: service, subscription: subscription))
  }
}
