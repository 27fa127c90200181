import Logging
import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What happens to one delivery between the broker and its acknowledgement: find its type and handler, run the handler, let
/// out what it published, or write the dead letter.
struct DeliveryProcessor: Sendable {
  let queue: String
  let type: EventType
  /// The one that nearly everything in the queue comes through.
  let exchange: String
  let deadLetters: String?
  let handlers: [EventType: any DeliveryHandler]
  let otherwise: (any DeliveryHandler)?
  let middleware: [Middleware<Delivery>]
  let copies: PublishingChannel
  let publishing: BrokerConnection
  let topology: Topology
  let observer: ConsumeObserver
  let logger: Logger

  func process(_ message: IncomingMessage) async -> QueueReader.Settlement {
    if message.isOversized {
      logger.info("a message is larger than maximumBodySize: the broker moves it to the dead letters", metadata: place)
      observer.count(.deadLetter)
      return .reject
    }
    if let problem = MessageProperties.problem(in: message.properties) {
      return await deadLetter(message, .undecodable("the message's properties cannot be read: \(problem)"))
    }
    let type = self.type(of: message)
    guard let handler = handlers[type] ?? otherwise else {
      return await deadLetter(message, .unknownType("no handler takes the event type \(type)"))
    }
    let properties = message.properties
    let delivery = Delivery(
      type: type, body: message.body, isRedelivered: message.isRedelivered, queue: queue,
      routingKey: message.routingKey,
      hasOwnID: { (try? MessageProperties(reading: properties))?.headers[Headers.ownID]?.int == 1 }
    ) {
      // Readable: it was looked through above.
      EventMetadata((try? MessageProperties(reading: properties)) ?? MessageProperties(), type: type)
    }
    let result = await observer.processing(delivery) { delivery in await run(handler, delivery) }
    return await settle(message, delivery, result)
  }

  /// The exchange decides. A copy that came through the default exchange says what it was; a message that somebody else
  /// brought here may say it in its properties; else it is what the queue is for.
  private func type(of message: IncomingMessage) -> EventType {
    if message.exchange == exchange { return type }
    if let type = EntityNames.type(ofExchange: message.exchange) { return type }
    guard let properties = try? MessageProperties(reading: message.properties) else { return type }
    if let origin = properties.headers[Headers.originExchange]?.string, let type = EntityNames.type(ofExchange: origin)
    {
      return type
    }
    let declared = properties.type ?? properties.headers[Headers.type]?.string
    return declared.flatMap { try? EventType($0) } ?? type
  }

  // MARK: The handler

  private func run(_ handler: any DeliveryHandler, _ delivery: Delivery) async -> HandlerResult {
    guard !middleware.isEmpty else { return await handler.handle(delivery) }
    let last = Lock<HandlerResult?>(nil)
    do {
      try await middleware.run(delivery) { delivery in
        let result = await handler.handle(delivery)
        last.withLock { $0 = result }
        if case .failed(let error) = result.outcome { throw error }
      }
    } catch {
      return HandlerResult(.failed(error))
    }
    guard let result = last.withLock({ $0 }) else { return HandlerResult(.ignored(reason: "a middleware stopped it")) }
    // Its error was swallowed.
    if case .failed = result.outcome { return HandlerResult(.handled) }
    return result
  }

  private func settle(
    _ message: IncomingMessage, _ delivery: Delivery, _ result: HandlerResult
  ) async -> QueueReader.Settlement {
    // Stopped, not failed and not handled either: a handler may return early because it was cancelled. It is delivered again.
    if Task.isCancelled, !result.isCommitted {
      switch result.outcome {
      case .handled, .failed: return .leave
      case .ignored, .deadLetter: break
      }
    }
    switch result.outcome {
    case .handled:
      if !result.isCommitted, !result.collected.isEmpty {
        switch await publish(result.collected) {
        case nil: break
        case .some(nil): return .leave
        case .some(let reason?): return await deadLetter(message, .publishFailed(reason))
        }
      }
      observer.count(.handled)
      return .acknowledge
    case .ignored(let reason):
      logger.debug("an event was ignored", metadata: place(of: delivery, reason))
      observer.count(.ignored)
      return .acknowledge
    case .failed(let error):
      return await deadLetter(message, .handlerFailed("\(error)"))
    case .deadLetter(let reason):
      return await deadLetter(message, reason)
    }
  }

  /// Publishes what the handler collected, in order, and again what the broker did not take. Their ids are derived, so a
  /// repeat is the same event. Nil when all are confirmed; `.some(nil)` when it was stopped before; else why it never can be.
  private func publish(_ collected: [CollectedEvent]) async -> String?? {
    var rest = collected[...]
    var backoff = Backoff()
    while let first = rest.first {
      // A publisher that is no object is never identical, not even to itself.
      let run = [first] + rest.dropFirst().prefix { ($0.publisher as AnyObject) === (first.publisher as AnyObject) }
      let outcomes = await first.publisher.publish(encoded: run.map(\.event))
      var confirmed = 0
      for outcome in outcomes {
        if outcome.isConfirmed { confirmed += 1 } else { break }
      }
      rest = rest.dropFirst(confirmed)
      guard confirmed < run.count else { continue }
      switch confirmed < outcomes.count ? outcomes[confirmed] : .unknown("no outcome") {
      case .refused(let text), .unroutable(let text):
        return .some("\(rest[rest.startIndex].event.metadata.type): \(text)")
      case .confirmed, .congested, .notPublished, .unknown: break
      }
      if Task.isCancelled { return .some(nil) }
      logger.info("what a handler published is not confirmed yet: trying again", metadata: place)
      if await !backoff.wait() { return .some(nil) }
    }
    return nil
  }

  // MARK: Dead letters

  private func deadLetter(_ message: IncomingMessage, _ reason: DeadLetterReason) async -> QueueReader.Settlement {
    guard let deadLetters else {
      logger.info("an event could not be handled", metadata: place.merging(["reason": "\(reason)"]) { $1 })
      observer.count(.deadLetter)
      return .acknowledge
    }
    logger.info("an event goes to the dead letters", metadata: place.merging(["reason": "\(reason)"]) { $1 })
    guard
      let request = DeadLetterCopy.request(
        of: message, from: queue, to: deadLetters, reason: reason,
        now: Date(milliseconds: Int64(wallClockMilliseconds())))
    else {
      observer.count(.deadLetter)
      return .reject
    }
    var backoff = Backoff()
    while true {
      let outcome = await copies.publish(request)
      switch outcome {
      case .confirmed:
        observer.count(.deadLetter)
        return .acknowledge
      case .unroutable:
        // The queue of the dead letters is gone: with mode `declare` it comes back, else somebody must make it.
        let entity = TopologyEntity.deadLetterQueue(name: deadLetters)
        do throws(RabbitMQError) {
          try await topology.redeclare([entity])
        } catch {
          logger.info("the dead-letter queue is missing", metadata: place.merging(["error": "\(error)"]) { $1 })
        }
      case .refused where request.head.headerFrameSize > largestFrame:
        observer.count(.deadLetter)
        return .reject
      case .refused, .congested, .notPublished, .unknown:
        logger.info(
          "a dead letter is not confirmed yet: the event stays unacknowledged and it is tried again",
          metadata: place.merging(["outcome": "\(outcome)"]) { $1 })
      }
      if Task.isCancelled { return .leave }
      if await !backoff.wait() { return .leave }
    }
  }

  /// The reason makes the headers longer, and a connection that agreed on small frames cannot carry them any more.
  private var largestFrame: Int {
    if case .open(let info) = publishing.status.value.phase { info.frameMax } else { .max }
  }

  private var place: Logger.Metadata { ["queue": "\(queue)"] }

  private func place(of delivery: Delivery, _ reason: String) -> Logger.Metadata {
    ["queue": "\(queue)", "id": "\(delivery.metadata.id?.text ?? "")", "reason": "\(reason)"]
  }
}

/// 0.2 s, doubled up to 5 s.
private struct Backoff {
  private var delay = Duration.milliseconds(200)

  /// False when the task was cancelled.
  mutating func wait() async -> Bool {
    defer { delay = min(delay * 2, .seconds(5)) }
    return (try? await Task.sleep(for: delay)) != nil
  }
}
