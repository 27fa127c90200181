import Logging
import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What happens to one delivery between the broker and its acknowledgement: find its type and handler, run the handler, let
/// out what it published, or see to it that it is tried again or dead-lettered.
struct DeliveryProcessor: Sendable {
  let queue: String
  /// What a message is that says nothing about its type; nil for a queue of several types.
  let type: EventType?
  /// The one that nearly everything in the queue comes through; nil for a queue of several types.
  let exchange: String?
  let handlers: [EventType: any DeliveryHandler]
  let otherwise: (any DeliveryHandler)?
  let middleware: [Middleware<Delivery>]
  /// For handlers that say nothing else.
  var defaults = HandlerSettings(retry: .never, timeout: .seconds(1500))
  let failing: FailedDeliveries
  let observer: ConsumeObserver
  let logger: Logger

  func process(_ message: IncomingMessage, _ stages: DeliveryStages) async -> QueueReader.Settlement {
    if message.isOversized {
      logger.info("a message is larger than maximumBodySize: the broker moves it to the dead letters", metadata: place)
      observer.count(.deadLetter)
      return .reject
    }
    if let problem = MessageProperties.problem(in: message.properties) {
      let reason = DeadLetterReason.undecodable("the message's properties cannot be read: \(problem)")
      return await failing.deadLetter(message, reason, round: 1, stages)
    }
    let origin = origin(of: message, stages)
    guard let type = origin.type else {
      let text = "the queue is for several event types, and the message does not say which of them it is"
      return await failing.deadLetter(message, .unknownType(text), round: origin.round, stages)
    }
    guard let handler = handlers[type] ?? otherwise else {
      let reason = DeadLetterReason.unknownType("no handler takes the event type \(type)")
      return await failing.deadLetter(message, reason, round: origin.round, stages)
    }
    var handling = Handling(
      message: message, type: type, routingKey: origin.routingKey, handler: handler, stages: stages, round: origin.round
    )
    if let end = await instead(&handling) { return end }
    return await handle(&handling)
  }

  /// One delivery on its way through the handler.
  private struct Handling {
    let message: IncomingMessage
    let type: EventType
    let routingKey: String
    let handler: any DeliveryHandler
    let stages: DeliveryStages
    var round: Int
    /// Runs of the handler in this round.
    var tries = 0
    /// In place, for the sake of order.
    var waited = Duration.zero
  }

  // MARK: What it is

  /// The exchange decides. A copy that came through the default exchange says what it was; a message that somebody else
  /// brought here may say it in its properties; else it is what the queue is for.
  private func origin(
    of message: IncomingMessage, _ stages: DeliveryStages
  ) -> (type: EventType?, routingKey: String, round: Int) {
    if let exchange, message.exchange == exchange, !stages.isParked { return (type, message.routingKey, 1) }
    guard let properties = try? MessageProperties(reading: message.properties) else {
      return (type, message.routingKey, 1)
    }
    let round = Int(clamping: max(1, min(10_000, properties.headers[Headers.attempt]?.int ?? 1)))
    let routingKey = isCopy(message) ? properties.headers[Headers.originRoutingKey]?.string : nil
    return (typeName(message, properties), routingKey ?? message.routingKey, round)
  }

  /// It came through no event type's exchange. Nearly everything comes through the one that is known.
  private func isCopy(_ message: IncomingMessage) -> Bool {
    message.exchange != exchange && EntityNames.type(ofExchange: message.exchange) == nil
  }

  private func typeName(_ message: IncomingMessage, _ properties: MessageProperties) -> EventType? {
    if let type = EntityNames.type(ofExchange: message.exchange) { return type }
    if let origin = properties.headers[Headers.originExchange]?.string, let type = EntityNames.type(ofExchange: origin)
    {
      return type
    }
    let declared = properties.type ?? properties.headers[Headers.type]?.string
    return declared.flatMap { try? EventType($0) } ?? type
  }

  /// What is done with a delivery whose handler is not to run.
  private func instead(_ handling: inout Handling) async -> QueueReader.Settlement? {
    let (message, stages) = (handling.message, handling.stages)
    // Replays come through the default exchange: nothing else has to look into its headers.
    if handling.handler.settings.replays == .ignore, isCopy(message) {
      let delivery = delivery(handling)
      if let replay = delivery.metadata.replay { return ignored(delivery, "the replay \(replay)") }
    }
    if stages.isCrashLoop {
      let text = "delivered alone and not acknowledged, \(message.returns) times: its handler seems to end the process"
      return await failing.deadLetter(message, .crashLoop(text), round: handling.round, stages)
    }
    switch stages.overdue {
    case nil: break
    case .abandoned:
      let text =
        "the handler took longer than \(limit(handling)), was cancelled, and did not end: it may still be at work"
      return await failing.deadLetter(message, .timedOut(text), round: handling.round, stages)
    case .ended:
      handling.tries = .max
      return await failed(HandlerTimedOut(limit: limit(handling)), &handling) ?? .leave
    }
    if stages.key != nil, !stages.isParked, let parking = handling.handler.parking {
      return await failing.parkBehind(message, in: parking, stages)
    }
    return nil
  }

  private func limit(_ handling: Handling) -> Duration {
    handling.handler.settings.timeout ?? defaults.timeout ?? .seconds(1500)
  }

  /// The key whose order a message keeps; nil when it has none, or cannot be handled anyway.
  func orderKey(of message: IncomingMessage) -> String? {
    guard !message.isOversized, MessageProperties.problem(in: message.properties) == nil else { return nil }
    let origin = origin(of: message, DeliveryStages())
    guard let type = origin.type, let handler = handlers[type] ?? otherwise, let order = handler.settings.order else {
      return nil
    }
    return order(delivery(message, type, origin.routingKey, origin.round))
  }

  // MARK: The handler

  private func handle(_ handling: inout Handling) async -> QueueReader.Settlement {
    while true {
      handling.tries += 1
      let delivery = delivery(handling)
      let handler = handling.handler
      handling.stages.handles(within: limit(handling))
      let result = await observer.processing(delivery) { delivery in await run(handler, delivery) }
      // A run that is over in a moment needs no such word.
      if !result.isPlainSuccess { handling.stages.rests() }
      if let end = await settle(&handling, delivery, result) { return end }
    }
  }

  private func delivery(_ handling: Handling) -> Delivery {
    delivery(handling.message, handling.type, handling.routingKey, handling.round)
  }

  private func delivery(_ message: IncomingMessage, _ type: EventType, _ routingKey: String, _ round: Int) -> Delivery {
    Delivery(
      type: type, body: message.body, isRedelivered: message.isRedelivered, queue: queue, routingKey: routingKey,
      attempt: round, foreignContent: MessageProperties.foreignContent(in: message.properties),
      describedBy: PropertyDescription(message: message, type: type))
  }

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

  /// Nil when the handler is to run again, on the same delivery.
  private func settle(
    _ handling: inout Handling, _ delivery: Delivery, _ result: HandlerResult
  ) async -> QueueReader.Settlement? {
    // Stopped, not failed and not handled either: a handler may return early because it was cancelled. It is delivered again.
    if Task.isCancelled, !result.isCommitted {
      switch result.outcome {
      case .handled, .failed, .retry: return .leave
      case .ignored, .deadLetter: break
      }
    }
    switch result.outcome {
    case .handled:
      if !result.isCommitted, !result.collected.isEmpty {
        switch await failing.publish(result.collected) {
        case nil: break
        case .some(nil): return .leave
        case .some(let reason?):
          return await failing.deadLetter(
            handling.message, .publishFailed(reason), round: handling.round, handling.stages)
        }
      }
      observer.count(.handled)
      return .acknowledge
    case .ignored(let reason):
      return ignored(delivery, reason)
    case .failed(let error):
      return await failed(error, &handling)
    case .retry(let delay, let reason):
      return await retry(after: delay, reason, &handling)
    case .deadLetter(let reason):
      return await failing.deadLetter(handling.message, reason, round: handling.round, handling.stages)
    }
  }

  private func ignored(_ delivery: Delivery, _ reason: String) -> QueueReader.Settlement {
    let id = delivery.metadata.id?.text ?? ""
    logger.debug(
      "an event was ignored",
      metadata: place.merging(["id": "\(id.shown(255))", "reason": "\(reason.shown(512))"]) { $1 })
    observer.count(.ignored)
    return .acknowledge
  }

  // MARK: Failures

  private func failed(_ error: any Error, _ handling: inout Handling) async -> QueueReader.Settlement? {
    let policy = policy(handling)
    switch policy.decision(after: error, tries: handling.tries, round: handling.round) {
    case .inPlace(let pause):
      observer.count(.retried)
      return (try? await Task.sleep(for: pause)) == nil ? .leave : nil
    case .later(let delay):
      return await later(delay, "\(error)", isJittered: policy.isJittered, &handling)
    case .deadLetter:
      let reason: DeadLetterReason = error is HandlerTimedOut ? .timedOut("\(error)") : .handlerFailed("\(error)")
      return await failing.deadLetter(handling.message, reason, round: handling.round, handling.stages)
    case .ignore:
      return ignored(delivery(handling), "\(error)")
    }
  }

  private func retry(
    after delay: Duration?, _ reason: String, _ handling: inout Handling
  ) async -> QueueReader.Settlement? {
    guard handling.round < 1000 else {
      let text = "the handler asked for another round 1000 times, the last time because: \(reason)"
      return await failing.deadLetter(handling.message, .exhausted(text), round: handling.round, handling.stages)
    }
    let policy = policy(handling)
    let next =
      policy.delays.indices.contains(handling.round - 1) ? policy.delays[handling.round - 1] : policy.delays.last
    let wait = max(.milliseconds(1), min(delay ?? next ?? .seconds(5), .seconds(30 * 86_400)))
    return await later(wait, reason, isJittered: delay == nil && policy.isJittered, &handling)
  }

  private func policy(_ handling: Handling) -> RetryPolicy {
    handling.handler.settings.retry ?? defaults.retry ?? .never
  }

  /// Another round: from the store where there is one, else out of the way on the broker, or in place when the successors of
  /// its key must not overtake it.
  private func later(
    _ delay: Duration, _ error: String, isJittered: Bool, _ handling: inout Handling
  ) async -> QueueReader.Settlement? {
    let (message, stages) = (handling.message, handling.stages)
    let next = handling.round + 1
    if let parking = handling.handler.parking {
      let exact = isJittered ? delay + delay * Double.random(in: 0...0.2) : delay
      return await failing.park(message, in: parking, for: exact, round: next, error, stages)
    }
    guard stages.key != nil else {
      return await failing.retry(message, after: delay, isJittered: isJittered, round: next, error, stages)
    }
    if stages.overdue != nil {
      return await failing.deadLetter(message, .timedOut(error), round: handling.round, stages)
    }
    handling.waited += delay
    guard handling.waited <= Self.longestWaitInPlace, stages.waitsInPlace() else {
      stages.givesUp()
      return .leave
    }
    observer.count(.retried)
    guard (try? await Task.sleep(for: delay)) != nil else { return .leave }
    stages.goesOn()
    (handling.round, handling.tries) = (next, 0)
    return nil
  }

  /// In place an event holds its acknowledgement back, for which the broker waits 30 minutes.
  private static var longestWaitInPlace: Duration { .seconds(600) }

  private var place: Logger.Metadata { ["queue": "\(queue)"] }
}

/// A handler has taken longer than it may.
struct HandlerTimedOut: Error, CustomStringConvertible {
  var limit: Duration
  var description: String { "the handler took longer than \(limit)" }
}

/// A delivery's metadata in the bytes that the broker has sent. They are readable: they were looked through before.
private struct PropertyDescription: DeliveryDescription {
  let message: IncomingMessage
  let type: EventType
  private var read: MessageProperties {
    (try? MessageProperties(reading: message.properties)) ?? MessageProperties()
  }
  var hasOwnID: Bool { read.headers[Headers.ownID]?.int == 1 }
  func metadata() -> EventMetadata { EventMetadata(read, type: type) }
}

extension HandlerResult {
  fileprivate var isPlainSuccess: Bool {
    if case .handled = outcome { return collected.isEmpty }
    return false
  }
}
