import Logging
import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Brings deliveries that could not be handled to where they wait or end, and says what their queue is to be told then: an
/// original is acknowledged when its copy is safe, never before.
struct FailedDeliveries: Sendable {
  let queue: String
  /// Whose retry ladder; nil where nothing is tried again.
  let owner: QueueOwner?
  let ladder: RetryLadder
  let deadLetters: String?
  let copies: PublishingChannel
  let publishing: BrokerConnection
  let topology: Topology
  let observer: ConsumeObserver
  let logger: Logger

  // MARK: Again

  /// A copy in the rung of the ladder that serves `delay`.
  func retry(
    _ message: IncomingMessage, after delay: Duration, isJittered: Bool, round: Int, _ error: String,
    _ stages: DeliveryStages
  ) async -> QueueReader.Settlement {
    guard let owner else { return await deadLetter(message, .handlerFailed(error), round: round - 1, stages) }
    let rung = ladder.rung(for: delay, jitter: isJittered)
    let name = EntityNames.retryRung(of: owner, delay: rung)
    guard
      let request = RetryCopy.request(
        of: message, to: queue, through: name, round: round, error: error, now: now)
    else { return reject(message, error) }
    logger.debug(
      "an event is tried again later",
      metadata: place.merging(["in": "\(rung)", "error": "\(error.shown(512))"]) { $1 })
    let end = await confirm(request, TopologyEntity.retryRung(of: owner, delay: rung), "a retry", stages)
    if case .confirmed = end { observer.count(.retried) }
    return settlement(of: end)
  }

  /// In a store, for exactly so long.
  func park(
    _ message: IncomingMessage, in parking: any DeliveryParking, for delay: Duration, round: Int, _ error: String,
    _ stages: DeliveryStages
  ) async -> QueueReader.Settlement {
    guard let parked = ParkedDelivery(failed: message, queue, stages.key, delay, round: round, error: error, now: now)
    else { return reject(message, error) }
    observer.count(.retried)
    if stages.isParked { return .parkAgain(parked) }
    return await store { try await parking.park(parked) } == nil ? .leave : .acknowledge
  }

  /// Behind others of its key that wait in a store; nil when there are none.
  func parkBehind(
    _ message: IncomingMessage, in parking: any DeliveryParking, _ stages: DeliveryStages
  ) async -> QueueReader.Settlement? {
    let parked = ParkedDelivery(
      queue: queue, key: stages.key,
      message: ParkedMessage.encode(
        exchange: message.exchange, routingKey: message.routingKey, properties: message.properties,
        body: message.body), due: now)
    switch await store({ try await parking.parkBehind(parked) }) {
    case nil: return .leave
    case true?: return .acknowledge
    case false?: return nil
    }
  }

  /// Tries until the store takes it; nil when stopped before.
  private func store<R: Sendable>(_ body: () async throws -> R) async -> R? {
    var backoff = Backoff()
    while true {
      do {
        return try await body()
      } catch {
        logger.info(
          "an event cannot be parked yet: it stays unacknowledged and it is tried again",
          metadata: place.merging(["error": "\(error)"]) { $1 })
      }
      if Task.isCancelled { return nil }
      if await !backoff.wait() { return nil }
    }
  }

  // MARK: Dead letters

  func deadLetter(
    _ message: IncomingMessage, _ reason: DeadLetterReason, round: Int, _ stages: DeliveryStages
  ) async -> QueueReader.Settlement {
    let details = place.merging(["reason": "\(reason.description.shown(512))"]) { $1 }
    guard let deadLetters else {
      logger.info("an event could not be handled", metadata: details)
      observer.count(.deadLetter)
      return .acknowledge
    }
    logger.info("an event goes to the dead letters", metadata: details)
    guard
      let request = DeadLetterCopy.request(
        of: message, from: queue, to: deadLetters, reason: reason, round: round, now: now)
    else { return reject(message, reason.text) }
    let end = await confirm(request, [.deadLetterQueue(name: deadLetters)], "a dead letter", stages)
    switch end {
    case .confirmed, .tooLarge: observer.count(.deadLetter)
    case .stopped: break
    }
    return settlement(of: end)
  }

  /// What cannot be copied whole is the broker's to move.
  private func reject(_ message: IncomingMessage, _ error: String) -> QueueReader.Settlement {
    logger.info(
      "a failed event cannot be copied as it is: the broker moves it to the dead letters",
      metadata: place.merging(["error": "\(error.shown(512))"]) { $1 })
    observer.count(.deadLetter)
    return .reject
  }

  // MARK: Copies

  private enum CopyEnd {
    case confirmed
    /// The headers do not fit into a frame of this connection.
    case tooLarge
    case stopped
  }

  private func settlement(of end: CopyEnd) -> QueueReader.Settlement {
    switch end {
    case .confirmed: .acknowledge
    case .tooLarge: .reject
    case .stopped: .leave
    }
  }

  /// Publishes until it is confirmed.
  private func confirm(
    _ request: PublishRequest, _ entities: [TopologyEntity], _ what: String, _ stages: DeliveryStages
  ) async -> CopyEnd {
    var backoff = Backoff()
    var isHeld = false
    defer { if isHeld { stages.isHeldUp(by: nil) } }
    while true {
      var problem = await declared(entities.count > 1 ? entities : [])
      if problem == nil {
        let outcome = await copies.publish(request)
        switch outcome {
        case .confirmed: return .confirmed
        case .refused where request.head.headerFrameSize > largestFrame: return .tooLarge
        case .unroutable:
          // Its queue is gone: with mode `declare` it comes back, else somebody must make it.
          await topology.forget(entities)
          problem = await declared(entities)
        case .refused(let text):
          await topology.forget(entities)
          problem = await declared(entities) ?? RabbitMQError(.accessRefused, "\(what) is refused: \(text)")
        case .congested, .notPublished, .unknown: break
        }
        logger.info(
          "\(what) is not confirmed yet: the event stays unacknowledged and it is tried again",
          metadata: place.merging(["outcome": "\(outcome)"]) { $1 })
      }
      if let problem {
        isHeld = true
        stages.isHeldUp(by: problem)
        logger.error("\(what) is not possible", metadata: place.merging(["error": "\(problem)"]) { $1 })
      }
      if Task.isCancelled { return .stopped }
      if await !backoff.wait() { return .stopped }
    }
  }

  /// What the broker says against these; a lost connection says nothing.
  private func declared(_ entities: [TopologyEntity]) async -> RabbitMQError? {
    do throws(RabbitMQError) {
      try await topology.ensure(entities)
      return nil
    } catch {
      return error.isRefusal ? error : nil
    }
  }

  /// The reason makes the headers longer, and a connection that agreed on small frames cannot carry them any more.
  private var largestFrame: Int {
    if case .open(let info) = publishing.status.value.phase { info.frameMax } else { .max }
  }

  private var now: Date { Date(milliseconds: Int64(wallClockMilliseconds())) }
  private var place: Logger.Metadata { ["queue": "\(queue)"] }
}

extension ParkedDelivery {
  /// Nil when a copy would lose something.
  init?(
    failed message: IncomingMessage, _ queue: String, _ key: String?, _ delay: Duration, round: Int, error: String,
    now: Date
  ) {
    guard
      let properties = FailureCopy.properties(of: message, from: queue, round: round, error: error, now: now)
    else { return nil }
    var writer = FieldWriter(capacity: 512)
    _ = properties.write(to: &writer)
    self.init(
      queue: queue, key: key,
      message: ParkedMessage.encode(
        exchange: message.exchange, routingKey: message.routingKey, properties: writer.bytes, body: message.body),
      due: now.addingTimeInterval(delay / .seconds(1)))
  }
}
