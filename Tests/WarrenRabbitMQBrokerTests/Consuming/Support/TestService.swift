import BrokerFixture
import Foundation
import Logging
import Warren

@testable import WarrenRabbitMQ

/// An event type that only one test of one run uses, for `static let eventType`.
func freshType(_ stem: String = "note") -> EventType {
  do {
    return try EventType("consuming.\(unique(stem))")
  } catch {
    return "a name that no broker is ever asked for"
  }
}

/// `<family>.<name>`, for the types that an ``EventFamily`` lists.
func subtype(_ family: EventType, _ name: String) -> EventType {
  do {
    return try EventType("\(family.name).\(name)")
  } catch {
    return "a name that no broker is ever asked for"
  }
}

/// The names of one service on the broker, and a publisher for its events. What it makes there goes when the test ends.
struct TestService: Sendable {
  let rabbit: RabbitMQ
  let name: ServiceName
  let litter: Litter
  let publisher: Publisher

  private func owner(_ subscription: String?) throws -> QueueOwner {
    try QueueOwner(service: name, subscription: subscription)
  }

  func workQueue(_ type: EventType, subscription: String? = nil) throws -> String {
    EntityNames.workQueue(of: try owner(subscription), type: type)
  }

  func deadLetters(_ type: EventType, subscription: String? = nil) throws -> String {
    EntityNames.deadLetterQueue(of: try owner(subscription), type: type)
  }

  /// A subscriber of this service, on another connection if one is given. Its log lines go nowhere unless a logger is given.
  func subscriber(
    on other: RabbitMQ? = nil, subscription: String? = nil, logger: Logger? = nil,
    _ change: (inout Subscriber.Options) -> Void = { _ in },
    @HandlerBuilder handlers: @Sendable () -> [any DeliveryHandler]
  ) -> Subscriber {
    var options = Subscriber.Options()
    // What fails is in the dead letters at once, unless a test is about what happens before.
    options.retry = .never
    change(&options)
    let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
    return Subscriber(
      other ?? rabbit, service: name, subscription: subscription, options: options, logger: logger ?? silent,
      handlers: handlers)
  }

  /// Another service, for the same types.
  func sibling(_ types: EventType..., subscription: String? = nil) throws -> TestService {
    let sibling = TestService(
      rabbit: rabbit, name: subscription == nil ? try ServiceName(unique("other")) : name, litter: litter,
      publisher: publisher)
    for type in types {
      litter.queue(try sibling.workQueue(type, subscription: subscription))
      litter.queue(try sibling.deadLetters(type, subscription: subscription))
    }
    return sibling
  }

  func declareQueues(_ type: EventType, _ options: QueueOptions = .init()) async throws {
    try await rabbit.topology.ensure(TopologyEntity.subscription(try owner(nil), type, options))
  }

  /// Puts a message straight into a queue, as any client may: no exchange of Warren's, no headers.
  func put(
    _ body: String, into queue: String, _ change: (inout MessageProperties) -> Void = { _ in }
  ) async throws {
    try await put(Data(body.utf8), into: queue, change)
  }

  func put(_ body: Data, into queue: String, _ change: (inout MessageProperties) -> Void = { _ in }) async throws {
    try await put(body, exchange: "", routingKey: queue, change)
  }

  func put(
    _ body: Data, exchange: String, routingKey: String, _ change: (inout MessageProperties) -> Void = { _ in }
  ) async throws {
    var properties = MessageProperties()
    properties.deliveryMode = 2
    change(&properties)
    let head = try PublishHead(
      exchange: exchange, routingKey: routingKey, properties: properties, bodySize: body.count)
    let outcome = await rabbit.copies.publish(PublishRequest(exchange: exchange, head: head, body: body))
    guard outcome.isConfirmed else { throw PutFailed(outcome: outcome) }
  }

  struct PutFailed: Error { var outcome: PublishOutcome }
}

/// Runs `body` with a service whose queues and whose types' exchanges are deleted afterwards.
func withTestService<R: Sendable>(
  _ types: EventType..., configuration: (inout RabbitMQConfiguration) -> Void = { _ in },
  isolation: isolated (any Actor)? = #isolation, _ body: (TestService) async throws -> R
) async throws -> R {
  try await withTestBroker(configuration) { rabbit, litter in
    let service = TestService(
      rabbit: rabbit, name: try ServiceName(unique("svc")), litter: litter,
      publisher: Publisher(rabbit, source: "tests"))
    for type in types {
      litter.exchange(EntityNames.exchange(of: type))
      litter.queue(try service.workQueue(type))
      litter.queue(try service.deadLetters(type))
    }
    return try await body(service)
  }
}

/// Runs `body` with a second, independent connection to the same broker.
func withSecondBroker<R: Sendable>(
  _ change: (inout RabbitMQConfiguration) -> Void = { _ in }, isolation: isolated (any Actor)? = #isolation,
  _ body: (RabbitMQ) async throws -> R
) async throws -> R {
  try await withTestBroker(change) { rabbit, _ in try await body(rabbit) }
}

extension RabbitMQ {
  /// How many consumers the broker counts for a queue.
  func consumers(of queue: String) async throws -> Int {
    let reply = try await topology.perform(
      .declareQueue(queue, passive: true, durable: true, exclusive: false, autoDelete: false, arguments: [:]))
    guard case .queue(_, _, let consumers) = reply else { return -1 }
    return consumers
  }
}
