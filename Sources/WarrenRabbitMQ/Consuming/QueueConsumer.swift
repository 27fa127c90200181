import Logging
import Warren
import WarrenSupport

/// Keeps one queue read: declares what it needs, starts a reader, and begins again after any end that was not asked for here.
final class QueueConsumer: Sendable {
  private let reading: Subscriber.Reading
  private let number: Int
  private let rabbit: RabbitMQ
  private let options: Subscriber.Options
  private let signals: Watched<ConsumingSignals>
  private let logger: Logger
  private let leftovers = Leftovers()
  private let returned = ReturnedDeliveries()

  init(
    _ reading: Subscriber.Reading, number: Int, rabbit: RabbitMQ, options: Subscriber.Options,
    signals: Watched<ConsumingSignals>, logger: Logger
  ) {
    self.reading = reading
    self.number = number
    self.rabbit = rabbit
    self.options = options
    self.signals = signals
    self.logger = logger
  }

  var queue: String { reading.processor.queue }

  private func enter(_ phase: ConsumerState.Phase, _ change: (inout ConsumerState) -> Void = { _ in }) {
    signals.update { signals in
      signals.consumers[number].phase = phase
      signals.consumers[number].since = .now
      change(&signals.consumers[number])
    }
  }

  // MARK: The life of a queue's reading

  /// Returns when it was asked to stop, or with what makes reading impossible for good.
  func run() async -> RabbitMQError? {
    var backoff = EntityBackoff()
    var lost: [QueueReader] = []
    var isFirst = true
    var isWary = false
    while true {
      lost.removeAll(where: \.isIdle)
      if Task.isCancelled { return await end(lost, nil) }
      switch signals.value.wanted {
      case .stop: return await end(lost, nil)
      case .pause:
        enter(.paused)
        _ = await signals.wait { $0.wanted != .pause }
      case .run:
        switch await read(isFirst: isFirst, isWary: isWary, &lost) {
        case .asked: break
        case .suspicious: (isFirst, isWary) = (false, true)
        case .orderBlocked: await waitForResumption()
        case .failed(let error, let duration):
          if let fatal = fatal(error, isFirst: isFirst && duration == nil) { return await end(lost, fatal) }
          if duration != nil { isFirst = false }
          await wait(backoff.delay(after: error, consumedFor: duration), because: error)
        }
      }
    }
  }

  private enum End {
    /// The task was cancelled, or something else is wanted.
    case asked
    /// To begin again at once, with one delivery at a time.
    case suspicious
    case orderBlocked
    case failed(RabbitMQError, consumedFor: Duration?)
  }

  private func read(isFirst: Bool, isWary: Bool, _ lost: inout [QueueReader]) async -> End {
    enter(isFirst ? .starting : .recovering) { $0.attempts += 1 }
    // Of the connection that the reading is on.
    let epoch = Lock(0)
    let ended = Watched<QueueReader.End?>(nil)
    let reader = makeReader(ended, isWary: isWary)
    // Of those that look for what ends the process.
    let turn = Lock<Int?>(nil)
    let begun = await unlessUnwanted { () throws(RabbitMQError) in
      try await self.rabbit.consuming.whenOpen(timeout: .seconds(86_400))
      if case .probing = self.reading.pace.window {
        let number = await self.rabbit.probeTurns.begin()
        turn.withLock { $0 = number }
      }
      try await self.begin(reader, epoch)
    }
    if let turn = turn.withLock({ $0 }) {
      if case .success? = begun {
        Task { [rabbit] in await rabbit.probeTurns.end(turn, after: reader) }
      } else {
        rabbit.probeTurns.end(turn)
      }
    }
    switch begun {
    case nil:
      await stop([reader])
      return .asked
    case .failure(let error):
      _ = await reader.stop(grace: .zero)
      if error.isOfConnection { await waitForNews(of: epoch.withLock { $0 }) }
      return .failed(error, consumedFor: nil)
    case .success: break
    }
    let start = ContinuousClock.now
    enter(.consuming) { state in
      (state.lastFailure, state.attempts, state.reader) = (nil, 0, reader)
    }
    if !isFirst { logger.info("consuming again", metadata: place) }
    let isParkingOver = Watched(false)
    let parking = Task {
      await handleParked(with: reader)
      isParkingOver.update { $0 = true }
    }
    let end = await watch(ended)
    parking.cancel()
    let failure: RabbitMQError
    switch end {
    case nil:
      enter(.stopping)
      await stop([reader])
      await settle(isParkingOver)
      return .asked
    case .suspicious:
      logger.info(
        "an event has come back again and again: deliveries are taken one at a time until it is handled or dead-lettered",
        metadata: place)
      await stop([reader])
      await settle(isParkingOver)
      return .suspicious
    case .orderBlocked:
      enter(.stopping)
      await stop([reader])
      await settle(isParkingOver)
      return .orderBlocked
    case .lost(let error): failure = error
    }
    await reader.abandon()
    if failure.isOfConnection { await waitForNews(of: epoch.withLock { $0 }) }
    if !reader.isIdle { lost.append(reader) }
    return .failed(failure, consumedFor: .now - start)
  }

  private func makeReader(_ ended: Watched<QueueReader.End?>, isWary: Bool) -> QueueReader {
    var pace = reading.pace
    if isWary, case .probing = pace.window { pace.window = .wary }
    return QueueReader(
      queue: queue, connection: rabbit.consuming, pace: pace, leftovers: leftovers, returned: returned,
      process: reading.processor.process,
      onHold: { [weak self] error in self?.hold(error) },
      onEnd: { end in ended.update { $0 = $0 ?? end } })
  }

  /// What a failed event needs is refused: no handler starts meanwhile, and who asks hears why.
  private func hold(_ error: RabbitMQError?) {
    let error = error.map(advised)
    signals.update { signals in
      let state = signals.consumers[number]
      guard state.phase == .consuming || state.phase == .refused, state.reader != nil else { return }
      signals.consumers[number].phase = error == nil ? .consuming : .refused
      signals.consumers[number].since = .now
      signals.consumers[number].lastFailure = error
    }
  }

  private func advised(_ error: RabbitMQError) -> RabbitMQError {
    error.advised(reading.processor.failing.owner, rabbit.configuration)
  }

  /// Deliveries that wait in stores are handled as long as the queue is read.
  private func handleParked(with reader: QueueReader) async {
    await withTaskGroup(of: Void.self) { group in
      for parking in reading.parkings {
        group.addTask { [queue, logger, place] in
          await parking.run(queue: queue) { parked in
            guard let message = ParkedMessage.decode(parked.message) else {
              logger.error(
                "a parked event cannot be read and stays where it is: a newer Warren may have written it",
                metadata: place)
              return .leave
            }
            switch await reader.handle(parked: message, key: parked.key) {
            case .acknowledge: return .done
            case .parkAgain(let next): return .again(next)
            case .reject, .leave: return .leave
            }
          }
        }
      }
    }
  }

  /// What parked events came to is written down by now, unless a handler goes on although it was cancelled: its event is known
  /// to the inbox, or handed out again by the next reading, which waits for this one's turn to end.
  private func settle(_ isParkingOver: Watched<Bool>) async {
    _ = await isParkingOver.wait(timeout: .seconds(2)) { $0 }
  }

  /// Until somebody resumes or stops it.
  private func waitForResumption() async {
    let error = RabbitMQError(
      .orderBlocked,
      "\"\(queue)\" is paused: too many events wait behind one of their key that fails again and again, or one has for more "
        + "than 10 minutes. Mend its handler, or move the event to the dead letters; then call resume() or start again",
      isRetryable: true)
    enter(.paused) { state in (state.lastFailure, state.reader) = (error, nil) }
    logger.error("paused: order cannot be kept otherwise", metadata: place.merging(["error": "\(error)"]) { $1 })
    let seen = signals.value.resumptions
    _ = await signals.wait { $0.wanted == .stop || $0.resumptions > seen }
  }

  private func begin(_ reader: QueueReader, _ epoch: Lock<Int>) async throws(RabbitMQError) {
    try await rabbit.consuming.whenOpen(timeout: .seconds(86_400))
    epoch.withLock { $0 = rabbit.consuming.status.value.epoch }
    do throws(RabbitMQError) {
      try await rabbit.topology.redeclare(reading.entities)
    } catch {
      throw advised(error)
    }
    do throws(RabbitMQError) {
      try await reader.start()
    } catch {
      throw advised(
        RabbitMQError(
          error.code, "cannot consume \"\(queue)\": \(error.message)", isRetryable: error.isRetryable,
          replyCode: error.replyCode))
    }
  }

  /// Returns what has ended the reading; nil when something else is wanted.
  private func watch(_ ended: Watched<QueueReader.End?>) async -> QueueReader.End? {
    let verifier = ConsumerVerifier()
    while true {
      let isOver = await firstOf(ended)
      if let failure = ended.value { return failure }
      if isOver { return nil }
      _ = await unlessUnwanted { () throws(RabbitMQError) in
        if self.rabbit.configuration.topology == .declare { await self.lookAfterEntities() }
        await verifier.look(at: self.queue, on: self.rabbit.topology)
      }
      if ended.value == nil, verifier.isMissing {
        return .lost(
          RabbitMQError(
            .consumerCancelled, "the broker counts no consumer of \"\(queue)\", although it has accepted one",
            isRetryable: true))
      }
    }
  }

  /// True when the reading is over, in whatever way; false when it is time to look after the queue and its binding.
  private func firstOf(_ ended: Watched<QueueReader.End?>) async -> Bool {
    await withTaskGroup(of: Bool.self) { group in
      group.addTask { await ended.wait(timeout: Upkeep.interval) { $0 != nil } != nil || Task.isCancelled }
      group.addTask { [signals] in
        _ = await signals.wait { $0.wanted != .run }
        return true
      }
      let isOver = await group.next() ?? true
      group.cancelAll()
      return isOver || Task.isCancelled
    }
  }

  /// The channels of a connection hear of its end a moment before everybody else does.
  private func waitForNews(of epoch: Int) async {
    _ = await rabbit.consuming.status.wait(timeout: .seconds(1)) { !$0.isOpen || $0.epoch > epoch }
  }

  private func wait(_ delay: Duration, because error: RabbitMQError) async {
    enter(error.isRefusal ? .refused : .recovering) { state in
      (state.lastFailure, state.reader) = (error, nil)
    }
    logger.log(
      level: error.isRefusal ? .error : .info, "not consuming: trying again",
      metadata: place.merging(["error": "\(error)", "in": "\(delay)"]) { $1 })
    if delay > .zero { _ = await signals.wait(timeout: delay) { $0.wanted != .run } }
  }

  /// What no later try can change.
  private func fatal(_ error: RabbitMQError, isFirst: Bool) -> RabbitMQError? {
    if case .ended(let reason) = rabbit.consuming.status.value.phase { return reason ?? error }
    return isFirst && rabbit.configuration.startup == .failFast ? error : nil
  }

  /// Runs `body`, which ends early when something else is wanted or the task is cancelled: nil then.
  private func unlessUnwanted(
    _ body: @escaping @Sendable () async throws(RabbitMQError) -> Void
  ) async -> Result<Void, RabbitMQError>? {
    let task = Task { () -> Result<Void, RabbitMQError> in
      do throws(RabbitMQError) { return .success(try await body()) } catch { return .failure(error) }
    }
    let watcher = Task { [signals] in
      if await signals.wait(until: { $0.wanted != .run }) != nil { task.cancel() }
    }
    defer { watcher.cancel() }
    let result = await withTaskCancellationHandler {
      await task.value
    } onCancel: {
      task.cancel()
    }
    if case .success = result { return result }
    return Task.isCancelled || signals.value.wanted != .run ? nil : result
  }

  // MARK: The end

  private func end(_ lost: [QueueReader], _ failure: RabbitMQError?) async -> RabbitMQError? {
    await stop(lost)
    enter(.ended) { state in
      state.reader = nil
      state.lastFailure = failure ?? state.lastFailure
    }
    return failure
  }

  /// Stopping and pausing wait for handlers; a cancellation does not.
  private func stop(_ readers: [QueueReader]) async {
    let grace = Task.isCancelled ? .zero : options.gracePeriod
    await withTaskGroup(of: Void.self) { group in
      for reader in readers {
        group.addTask { [logger] in
          let left = await reader.stop(grace: grace)
          if left > 0 {
            logger.info(
              "handlers do not end although they were cancelled; their events go back to the queue",
              metadata: ["queue": "\(reader.queue)", "handlers": "\(left)"])
          }
        }
      }
    }
  }

  // MARK: Upkeep

  /// How often the broker is asked whether what a queue needs is still there: deleted exchanges and bindings end no consumer,
  /// and nothing else tells of them.
  private enum Upkeep { static let interval = Duration.seconds(5) }

  private func lookAfterEntities() async {
    do throws(RabbitMQError) {
      let missing = try await rabbit.topology.restore(reading.entities)
      if !missing.isEmpty {
        logger.notice(
          "somebody has deleted what this queue needs: declared again",
          metadata: place.merging(["entities": "\(missing.joined(separator: ", "))"]) { $1 })
      }
    } catch {
      logger.info("the topology could not be looked after", metadata: place.merging(["error": "\(error)"]) { $1 })
    }
  }

  private var place: Logger.Metadata { ["queue": "\(queue)"] }
}

/// Whether the broker still has the consumer that it has accepted: clients of others came back "connected", with none.
private final class ConsumerVerifier: Sendable {
  private let misses = Lock(0)

  /// Twice in a row: a queue that changes its leader may count none for a moment.
  var isMissing: Bool { misses.withLock { $0 >= 2 } }

  func look(at queue: String, on topology: Topology) async {
    let look = Request.declareQueue(
      queue, passive: true, durable: true, exclusive: false, autoDelete: false, arguments: [:])
    guard case .queue(_, _, let consumers)? = try? await topology.perform(look) else { return }
    misses.withLock { $0 = consumers == 0 ? $0 + 1 : 0 }
  }
}
