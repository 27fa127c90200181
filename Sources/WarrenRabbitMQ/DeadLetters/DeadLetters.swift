public import Warren

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// The dead letters of a service: look at them, bring them back, change them, remove them.
///
/// ```swift
/// let dead = try DeadLetters(rabbit, service: "mailer")
/// for group in try await dead.groups(of: .type("user.created")) { print(group.cause, group.letters) }
/// try await dead.replay(.type("user.created"), .cause("handlerFailed"))
/// ```
///
/// Looking takes nothing out and keeps the order. A letter that is moved is acknowledged only when the broker has confirmed
/// it at its new place: when the process dies in between, it is in both places, never in none. One call looks at the letters
/// that were there when it began. While one program looks, another one does not see what the first one holds; the queue has
/// them again when it ends, in whatever way.
///
/// The queues are taken as they are and never declared here. A user needs `read` on `<service>.dead.<type>`, and for
/// replaying and editing `write` on the default exchange (`amq.default`).
public struct DeadLetters: Sendable {
  /// One queue of dead letters.
  public enum Place: Hashable, Sendable, CustomStringConvertible {
    /// `<service>.dead.<type>`.
    case type(EventType)
    /// `<service>.dead.group.<group>`: of a queue for several types.
    case group(String)

    var type: EventType? { if case .type(let type) = self { type } else { nil } }

    /// The text for messages and logs.
    public var description: String {
      switch self {
      case .type(let type): type.name
      case .group(let name): "the group \(name)"
      }
    }
  }

  /// Which letters a call is about.
  public struct Selection: Sendable {
    /// Letters with one of these ids, nil for any.
    public var ids: Set<String>?
    /// Letters with this cause, nil for any.
    public var cause: String?

    /// All of them.
    public static let all = Selection()
    /// Those with one of these ids (``DeadLetter/id``).
    public static func ids(_ ids: some Sequence<String>) -> Selection {
      var selection = Selection()
      selection.ids = Set(ids)
      return selection
    }
    /// Those with this cause (``DeadLetter/cause``).
    public static func cause(_ cause: String) -> Selection {
      var selection = Selection()
      selection.cause = cause
      return selection
    }

    func contains(_ letter: DeadLetter) -> Bool {
      if let ids, !ids.contains(letter.id) { return false }
      if let cause, cause != letter.cause { return false }
      return true
    }
  }

  /// What a call has done so far.
  public struct Report: Sendable, Equatable {
    /// Letters that were chosen.
    public var chosen = 0
    /// Letters that are done: replayed, edited or removed.
    public var done = 0
    /// Among them, repeats of a letter that was replayed in the same call: same id, same body. They went without a second
    /// delivery.
    public var repeats = 0
    /// Letters that were chosen and stay, because they cannot be moved: see ``problem``.
    public var failed = 0
    /// Why the first of them stays.
    public var problem: String?
    /// Why the call ended before its end; nil when it did not. What was not done is where it was.
    public var stopped: Stop?

    /// Nothing yet.
    public init() {}
  }

  /// Why a call ended early.
  public enum Stop: Sendable, Equatable {
    /// The caller wanted it.
    case asked
    /// The queue that letters should go to does not exist or takes none at all; the text says what to do.
    case refused(String)
    /// The queue is full, or the broker does not confirm: the same call may succeed later.
    case later(String)
  }

  /// Settings of a move.
  public struct Options: Sendable {
    /// The most letters per second; nil is as fast as it goes.
    public var rate: Double?
    /// Only count what would be done.
    public var dryRun = false

    /// As fast as it goes, for real.
    public init(rate: Double? = nil, dryRun: Bool = false) {
      self.rate = rate
      self.dryRun = dryRun
    }
  }

  /// What becomes of an edited letter.
  public enum AfterEdit: Sendable {
    /// It goes behind the other dead letters.
    case stays
    /// It goes to the work queue, as with ``DeadLetters/replay(_:_:options:progress:)``.
    case replayed
  }

  let rabbit: RabbitMQ
  /// Whose dead letters.
  public let owner: QueueOwner

  /// - Parameters:
  ///   - rabbit: the broker. Its `run()` must be running.
  ///   - service: whose dead letters.
  ///   - subscription: of which named subscription of the service; nil for its own.
  /// - Throws: `WarrenError` when a name is not allowed.
  public init(_ rabbit: RabbitMQ, service: ServiceName, subscription: String? = nil) throws {
    self.rabbit = rabbit
    owner = try QueueOwner(service: service, subscription: subscription)
  }

  // MARK: Looking

  /// The letters of one queue, grouped by type and cause, the largest group first. Needs no memory for bodies, and for 100,000
  /// letters a few megabytes.
  /// - Throws: ``RabbitMQError``, with ``RabbitMQError/Code/notFound`` when the queue does not exist.
  public func groups(of place: Place) async throws -> [DeadLetterGroup] {
    var summary = DeadLetterSummary(of: place.type)
    try await scan(place, bodyLimit: 0, firstPage: DeadLetterPages.largest) { scan in
      while case .letter(let letter) = try await scan.next() {
        summary.add(DeadLetter(letter.message, of: place.type))
        scan.leave(letter)
      }
    }
    return summary.groups
  }

  /// Calls `body` for each chosen letter, in order, until it returns false.
  /// - Throws: ``RabbitMQError``; what `body` throws.
  public func forEach(
    of place: Place, _ selection: Selection = .all, _ body: (DeadLetter) async throws -> Bool
  ) async throws {
    try await scan(place) { scan in
      while case .letter(let found) = try await scan.next() {
        let letter = DeadLetter(found.message, of: place.type)
        let goesOn = selection.contains(letter) ? try await body(letter) : true
        scan.leave(found)
        guard goesOn else { return }
      }
    }
  }

  /// How many programs read these dead letters just now: what they hold is not seen.
  /// - Throws: ``RabbitMQError``, with ``RabbitMQError/Code/notFound`` when the queue does not exist.
  public func readers(of place: Place) async throws -> Int {
    let queue = try deadLetters(place)
    do throws(RabbitMQError) {
      let reply = try await rabbit.topology.perform(
        .declareQueue(queue, passive: true, durable: true, exclusive: false, autoDelete: false, arguments: [:]))
      guard case .queue(_, _, let consumers) = reply else { return 0 }
      return consumers
    } catch {
      throw explained(error, queue)
    }
  }

  // MARK: Bringing back, changing, removing

  /// Moves the chosen letters to the service's work queue, through the default exchange, in their order: as new deliveries,
  /// with their old id. What the broker and Warren counted about earlier tries does not go along; why they failed does.
  /// - Parameter progress: is called after each letter; false ends the call.
  /// - Throws: ``RabbitMQError`` when the dead letters cannot be read.
  public func replay(
    _ place: Place, _ selection: Selection, options: Options = .init(),
    progress: (Report) -> Bool = { _ in true }
  ) async throws -> Report {
    let workQueue = try workQueue(place)
    return try await move(place, selection, options, foldsRepeats: true, progress) { message, _ in
      try DeadLetterMove.replayed(message, to: workQueue)
    }
  }

  /// Gives the chosen letters another body.
  /// - Parameters:
  ///   - record: is called with the old letter before it is acknowledged. When it returns, the old body must be safe.
  ///   - change: the new body; throw to leave a letter as it is.
  /// - Throws: ``RabbitMQError`` when the dead letters cannot be read; what `record` throws.
  public func edit(
    _ place: Place, _ selection: Selection, then: AfterEdit = .stays, options: Options = .init(),
    progress: (Report) -> Bool = { _ in true }, record: (DeadLetter) throws -> Void,
    change: (DeadLetter) throws -> Data
  ) async throws -> Report {
    let workQueue = try workQueue(place)
    let deadQueue = try deadLetters(place)
    return try await move(place, selection, options, foldsRepeats: then == .replayed, progress) { message, letter in
      let edit = DeadLetterEdit(
        from: message.body, to: try change(letter), time: Date(milliseconds: Int64(wallClockMilliseconds())))
      let request =
        switch then {
        case .stays: try DeadLetterMove.edited(message, in: deadQueue, edit: edit)
        case .replayed: try DeadLetterMove.replayed(message, to: workQueue, edit: edit)
        }
      do { try record(letter) } catch { throw RecordFailed(cause: error) }
      return request
    }
  }

  /// Removes the chosen letters for good.
  /// - Parameter record: is called with some letters before they are acknowledged. When it returns, they must be safe where
  ///   they can be read again.
  /// - Throws: ``RabbitMQError`` when the dead letters cannot be read; what `record` throws.
  public func discard(
    _ place: Place, _ selection: Selection, options: Options = .init(),
    progress: (Report) -> Bool = { _ in true }, record: ([DeadLetter]) throws -> Void
  ) async throws -> Report {
    var report = Report()
    var pace = Pace(rate: options.rate)
    try await scan(place) { scan in
      var pending: [(found: DeadLetterScan.Letter, letter: DeadLetter)] = []
      var bytes = 0
      func write() throws {
        guard !pending.isEmpty else { return }
        try record(pending.map(\.letter))
        for (found, _) in pending { scan.acknowledge(found) }
        report.done += pending.count
        (pending, bytes) = ([], 0)
        if !progress(report) { report.stopped = .asked }
      }
      reading: while report.stopped == nil {
        switch try await scan.next() {
        case .end: break reading
        case .settle: try write()
        case .letter(let found):
          let letter = DeadLetter(found.message, of: place.type)
          guard selection.contains(letter) else {
            scan.leave(found)
            continue
          }
          report.chosen += 1
          if options.dryRun {
            scan.leave(found)
          } else {
            pending.append((found, letter))
            bytes += letter.body.count
            // One sync of the disk for many, but not when somebody wants them slowly.
            if pending.count >= Self.window || bytes >= Self.windowBytes || options.rate != nil { try write() }
            if await !pace.wait(unless: { !progress(report) }) { report.stopped = .asked }
          }
        }
      }
      try write()
    }
    return report
  }

  // MARK: How

  /// The most letters that are under way to their new place, and about how many bytes of bodies are held.
  private static let window = 100
  private static let windowBytes = 8 << 20

  private struct RecordFailed: Error { var cause: any Error }

  func deadLetters(_ place: Place) throws -> String {
    switch place {
    case .type(let type): EntityNames.deadLetterQueue(of: owner, type: type)
    case .group(let name): try EntityNames.groupDeadLetterQueue(of: owner, group: name)
    }
  }

  private func workQueue(_ place: Place) throws -> String {
    switch place {
    case .type(let type): EntityNames.workQueue(of: owner, type: type)
    case .group(let name): try EntityNames.groupQueue(of: owner, group: name)
    }
  }

  private func scan(
    _ place: Place, bodyLimit: Int = 512 << 20, firstPage: Int = 32, _ body: (DeadLetterScan) async throws -> Void
  ) async throws {
    let queue = try deadLetters(place)
    let scan: DeadLetterScan
    do throws(RabbitMQError) {
      try await rabbit.consuming.whenOpen(timeout: .seconds(30))
      scan = try await DeadLetterScan(queue, of: rabbit, bodyLimit: bodyLimit, firstPage: firstPage)
    } catch {
      throw explained(error, queue)
    }
    do {
      try await body(scan)
      await scan.close()
    } catch {
      await scan.close()
      throw (error as? RabbitMQError).map { explained($0, queue) } ?? error
    }
  }

  private var grant: String {
    let configuration = rabbit.configuration
    let user = configuration.authentication == .clientCertificate ? "USER" : configuration.user
    let set = PermissionSet.deadLetterOperator(owner)
    return "What this needs is granted by: \(set.command(user: user, virtualHost: configuration.virtualHost))"
  }

  private func explained(_ error: RabbitMQError, _ queue: String) -> RabbitMQError {
    let text =
      switch error.code {
      case .notFound:
        "there is no queue \"\(queue)\": look at the service's name and the type's, or the service has never run"
      case .accessRefused: "this user may not read \"\(queue)\": \(error.message). \(grant)"
      default: "the dead letters \"\(queue)\" cannot be read: \(error.message)"
      }
    return RabbitMQError(error.code, text, isRetryable: error.isRetryable, replyCode: error.replyCode)
  }

  private func move(
    _ place: Place, _ selection: Selection, _ options: Options, foldsRepeats: Bool, _ progress: (Report) -> Bool,
    request: (IncomingMessage, DeadLetter) throws -> PublishRequest
  ) async throws -> Report {
    var report = Report()
    var pace = Pace(rate: options.rate)
    try await scan(place) { scan in
      var mover = DeadLetterMover(scan, to: rabbit.copies)
      var seen: Set<UInt128> = []
      reading: while mover.report.stopped == nil {
        switch try await scan.next() {
        case .end: break reading
        // By halves, so that the broker has something to do meanwhile.
        case .settle: await mover.settle(untilPending: mover.underWay / 2)
        case .letter(let found):
          let letter = DeadLetter(found.message, of: place.type)
          guard selection.contains(letter) else {
            scan.leave(found)
            continue
          }
          mover.report.chosen += 1
          let sameness = letter.sameness
          let isRepeat = foldsRepeats && !seen.insert(sameness).inserted
          if options.dryRun {
            if isRepeat { mover.report.repeats += 1 }
            scan.leave(found)
            continue
          }
          if isRepeat {
            mover.add(repeat: found, sameness)
          } else {
            do {
              mover.add(found, sameness, try request(found.message, letter))
            } catch let error as RecordFailed {
              await mover.settle(untilPending: 0)
              throw error.cause
            } catch {
              mover.leave(found, sameness, because: "\(letter.id.shown(100)): \(error)")
            }
          }
          let isFull = options.rate != nil || mover.bytes >= Self.windowBytes
          await mover.settle(untilPending: isFull ? 0 : Self.window)
          if await !pace.wait(unless: { !progress(mover.report) }) {
            mover.report.stopped = mover.report.stopped ?? .asked
          }
        }
      }
      await mover.settle(untilPending: 0)
      report = mover.report
    }
    if case .refused(let text)? = report.stopped, text.contains("ACCESS_REFUSED") {
      report.stopped = .refused("\(text). \(grant)")
    }
    return report
  }
}

/// Lets so many go per second.
private struct Pace {
  private let rate: Double?
  private let start = ContinuousClock.now
  private var count = 0

  init(rate: Double?) { self.rate = rate }

  /// False when it should end.
  mutating func wait(unless shouldEnd: () -> Bool) async -> Bool {
    if shouldEnd() || Task.isCancelled { return false }
    guard let rate else { return true }
    count += 1
    let due = start + .seconds(Double(count) / rate)
    while ContinuousClock.now < due {
      try? await Task.sleep(for: min(due - .now, .milliseconds(200)))
      if shouldEnd() || Task.isCancelled { return false }
    }
    return true
  }
}
