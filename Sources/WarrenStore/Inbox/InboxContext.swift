public import GRDB
public import Warren
import WarrenSupport

/// What a handler of an inbox knows beside the event, and how it decides the event's fate.
public struct InboxContext: Sendable {
  private let context: HandlerContext
  let commits = Lock<[@Sendable (Database) throws -> Void]>([])
  /// False for a message without an id: it cannot be told from its repeats, and is handled at least once.
  public let isDeduplicated: Bool

  init(_ context: HandlerContext, isDeduplicated: Bool) {
    self.context = context
    self.isDeduplicated = isDeduplicated
  }

  /// The message as it came.
  public var delivery: Delivery { context.delivery }
  /// Id, source, time, key, correlation and headers.
  public var metadata: EventMetadata { context.metadata }

  /// Runs `body` in the transaction that marks the event as handled, after the handler has returned. In order, if called
  /// several times. What it throws takes everything back, as if the handler had thrown. It may run again, so it must do
  /// nothing but use the database.
  public func onCommit(_ body: @escaping @Sendable (Database) throws -> Void) { commits.withLock { $0.append(body) } }

  /// The round of the event that this is: 1, and one more after each delayed retry.
  public var attempt: Int { context.attempt }

  /// Handles the event again later, when the handler has returned or thrown: after `delay`, or after what the retry policy
  /// says. Nothing that the handler wrote or published is kept.
  public func retry(after delay: Duration? = nil, reason: String = "the handler asked for it") {
    context.retry(after: delay, reason: reason)
  }

  /// Sends the event to the dead letters when the handler has returned or thrown, with this reason. Nothing that the handler
  /// wrote or published is kept.
  public func deadLetter(_ reason: String) { context.deadLetter(reason) }

  /// Acknowledges the event as deliberately not handled. Nothing that the handler wrote or published is kept.
  public func ignore(_ reason: String) { context.ignore(reason) }

  func runCommits(_ db: Database) throws {
    for body in commits.withLock({ $0 }) { try body(db) }
  }
}
