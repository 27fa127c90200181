import GRDB
import Logging
public import ServiceLifecycle
import Warren
import WarrenSupport

/// Keeps a projection up to date behind the appends, and builds it anew when its version is new.
///
/// Any number of processes may run one for the same projection: one of them works, the others wait. Readers of the tables go
/// on while a new version is built, and see it from one transaction to the next.
public final class Projector: Service, CustomStringConvertible {
  /// What differs from the defaults.
  public struct Options: Sendable {
    /// What becomes of an event that the projection cannot take.
    public var poison = PoisonHandling.stop

    /// The defaults.
    public init() {}
  }

  private let log: EventLog
  private let projection: any Projection
  private let options: Options
  private let standing = Lock<Standing>(.notStarted)

  /// How a projector stands.
  public enum Standing: Sendable, Hashable {
    /// ``Projector/run()`` has not been called.
    case notStarted
    /// Another process, or another projector of this one, works.
    case waiting
    /// It works.
    case active
    /// It stands before an event that the projection cannot take, and tries again.
    case stopped
    /// A newer version of the projection is in use.
    case superseded(by: Int)
    /// It has ended.
    case ended
  }

  init(_ log: EventLog, _ projection: any Projection, _ options: Options) {
    self.log = log
    self.projection = projection
    self.options = options
  }

  /// The text for messages and logs.
  public var description: String { "Projector(\(projection.name)/\(projection.version), \(log.path))" }

  /// How it stands now.
  public var status: Standing { standing.withLock { $0 } }

  /// Works until the task group shuts down gracefully or the task is cancelled.
  /// - Throws: ``StoreError`` when the projection is not allowed as it is. Everything else is tried again.
  public func run() async throws {
    defer { standing.withLock { $0 = .ended } }
    let working = Task { try await work() }
    try await withTaskCancellationOrGracefulShutdownHandler {
      try await working.value
    } onCancelOrGracefulShutdown: {
      working.cancel()
    }
  }

  private func work() async throws {
    standing.withLock { $0 = .waiting }
    let name = "\(projection.name)-\(projection.version)"
    guard let lock = await ReaderTurn.take(log, suffix: "-projection-\(name)") else { return }
    defer { lock.release() }
    let metrics = ReaderMetrics(log.metrics, .projection, name: projection.name, version: projection.version)
    let session = ProjectionSession(
      runner: ProjectionRunner(projection: projection, log: log, handling: options.poison), kind: .async,
      metrics: metrics)
    let watching = ReaderMetrics.watch(
      metrics, log, session.runner.reader, states: PoisonedEvents.State.allCases
    ) { self.status == .stopped }
    defer { watching?.cancel() }
    var patience = Patience()
    var isBegun = false
    while !Task.isCancelled {
      let generation = log.commits.generation
      do {
        if !isBegun {
          _ = try await session.begin()
          _ = try await session.changeKind()
          isBegun = true
        }
        switch try await session.step() {
        case .more:
          standing.withLock { $0 = .active }
          patience = Patience()
        case .idle:
          standing.withLock { $0 = .active }
          patience = Patience()
          await log.commits.next(after: generation, atMost: .seconds(30))
        case .stopped:
          standing.withLock { $0 = .stopped }
          await patience.wait()
        case .superseded(let version):
          standing.withLock { $0 = .superseded(by: version) }
          // A service that returns would end its group.
          await log.commits.next(after: generation, atMost: .seconds(30))
        }
      } catch is CancellationError {
        return
      } catch let error as StoreError where error.code == .invalidConfiguration || error.code == .corrupted {
        throw error
      } catch {
        if Task.isCancelled { return }
        log.logger.info(
          "a projection starts again from the file", metadata: ["projection": "\(name)", "error": "\(error)"])
        // Of an event it is poison; here it is the swap, which something else in the file does not allow.
        if error is DatabaseError { try? await session.note(problem: "\(error)") }
        await patience.wait()
      }
    }
  }
}

/// 1 s, doubled up to a minute.
struct Patience {
  private var delay = Duration.seconds(1)

  mutating func wait() async {
    try? await Task.sleep(for: delay)
    delay = min(delay * 2, .seconds(60))
  }
}

/// The right to be the one owner of a named reader, in whatever process.
enum ReaderTurn {
  /// Nil when the task is cancelled before it is its turn.
  static func take(_ log: EventLog, suffix: String) async -> RelayLock? {
    var isTold = false
    while !Task.isCancelled {
      do throws(StoreError) {
        if let lock = try RelayLock(of: log.path, suffix: suffix) { return lock }
      } catch {
        if !isTold { log.logger.info("a reader cannot start yet", metadata: ["error": "\(error)"]) }
        isTold = true
      }
      // The kernel tells nobody that a lock is free.
      try? await Task.sleep(for: .milliseconds(100))
    }
    return nil
  }
}
