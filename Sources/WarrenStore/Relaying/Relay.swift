import Logging
public import ServiceLifecycle
public import Warren
import WarrenSupport

extension EventLog {
  /// The service that delivers what is recorded in this log. Without one, in this process or another, nothing leaves the file.
  public func relay(to publisher: any EncodedPublisher, options: Relay.Options = .init()) -> Relay {
    Relay(self, publisher, options)
  }
}

/// Delivers what a log has recorded, at least once, in order for each event type and key, and removes what is confirmed.
///
/// Any number of processes may run one on the same file: one of them works, the others wait, and one takes over as soon as
/// the process that works is gone. A broker that is away costs nothing but time; an event that cannot be delivered holds back
/// only those of its own type and key.
public final class Relay: Service, CustomStringConvertible {
  /// What becomes of an event for which no queue is bound.
  public enum UnroutableHandling: String, Sendable, CaseIterable {
    /// It is kept, tried again every 1 to 60 seconds, and delivered in order once a queue is bound.
    case hold
    /// It counts as delivered: nobody listens, and that is fine.
    case accept
    /// It waits for an operator, and the events of its type and key behind it.
    case refuse
  }

  /// What differs from the defaults.
  public struct Options: Sendable {
    /// What becomes of events for which no queue is bound, where ``unroutableTypes`` does not say something else.
    public var unroutable = UnroutableHandling.hold
    /// The same for single event types.
    public var unroutableTypes: [EventType: UnroutableHandling] = [:]
    /// So long an event without a queue is kept; then it is removed and counted. 7 days.
    public var longestUnroutable = Duration.seconds(7 * 86_400)
    /// So many events without a queue are kept for each type; the oldest beyond that are removed and counted. 100,000.
    public var mostUnroutable = 100_000
    /// The most events that are given to the publisher and have no outcome yet. 1 to 10,000. 1000.
    public var window = 1000
    /// How long outcomes are waited for when the relay stops, 0 to 30 min. 5 s.
    public var gracePeriod = Duration.seconds(5)

    /// The defaults.
    public init() {}
  }

  let log: EventLog
  let publisher: any EncodedPublisher
  let options: Options
  private let state = Lock(RelayState.notStarted)

  init(_ log: EventLog, _ publisher: any EncodedPublisher, _ options: Options) {
    self.log = log
    self.publisher = publisher
    self.options = options
  }

  /// The text for messages and logs.
  public var description: String { "Relay(\(log.path))" }

  /// True while this relay, and no other on the file, delivers.
  public var isActive: Bool { state.withLock { $0 == .active } }

  /// The most events that were in memory at once.
  var mostInMemory: Int { peak.withLock { $0 } }
  let peak = Lock(0)

  /// Delivers until the task group shuts down gracefully or the task is cancelled. Then it waits for outcomes that are under
  /// way, for ``Options/gracePeriod`` at the most, and writes down what is confirmed.
  /// - Throws: ``StoreError`` when an option is not allowed or the file is damaged. Everything else is tried again.
  public func run() async throws {
    try options.validate()
    let mailbox = RelayMailbox()
    defer { state.withLock { $0 = .ended } }
    try await withTaskCancellationOrGracefulShutdownHandler {
      guard let lock = await acquire(mailbox) else { return }
      log.writeAheadLog.relays(true)
      defer {
        log.writeAheadLog.relays(false)
        lock.release()
      }
      state.withLock { $0 = .active }
      var sessions = 0
      while !mailbox.isStopping {
        sessions += 1
        do {
          let session = try RelaySession(self, number: sessions, lock: lock, mailbox: mailbox)
          // On a task of its own: the caller's may be cancelled, and what is under way must still be written down.
          try await Task { try await session.run() }.value
        } catch let error as StoreError where error.code != .corrupted && error.code != .newerSchema {
          log.logger.info("the relay starts again from the file", metadata: ["error": "\(error)"])
          try? await Task.sleep(for: .milliseconds(500))
        }
      }
    } onCancelOrGracefulShutdown: {
      mailbox.stop()
    }
  }

  /// Nil when the relay is stopped before it is its turn.
  private func acquire(_ mailbox: RelayMailbox) async -> RelayLock? {
    state.withLock { $0 = .waiting }
    var isTold = false
    while !mailbox.isStopping {
      do throws(StoreError) {
        if let lock = try RelayLock(of: log.path) { return lock }
      } catch {
        if !isTold { log.logger.info("the relay cannot start yet", metadata: ["error": "\(error)"]) }
        isTold = true
      }
      // The kernel tells nobody that a lock is free.
      try? await Task.sleep(for: .milliseconds(100))
    }
    return nil
  }

  /// What an outcome says about an entry.
  func verdict(_ outcome: PublishOutcome, _ lane: Lane, _ type: EventType) -> Verdict {
    switch outcome {
    case .confirmed: return .confirmed
    case .notPublished, .unknown: return .away
    case .congested(let text): return .failed(.congested, text)
    case .unroutable(let text):
      switch options.unroutableTypes[type] ?? options.unroutable {
      case .hold: return .failed(.unroutable, text)
      case .accept: return .confirmed
      case .refuse: return .failed(.refused, text)
      }
    case .refused(let text):
      // A refusal of everything on an exchange names it; whoever mends that need not know of this log.
      return .failed(text.contains("exchange '\(lane.exchange)'") ? .exchange : .refused, text)
    }
  }
}

private enum RelayState { case notStarted, waiting, active, ended }
