import Warren

/// What became of a delivery: the result for the subscriber, and the word for the metrics.
struct InboxVerdict: Sendable {
  var result: HandlerResult
  var outcome: LogMetrics.InboxOutcome

  private init(_ result: HandlerResult, _ outcome: LogMetrics.InboxOutcome) {
    self.result = result
    self.outcome = outcome
  }

  /// Of a handler that has run.
  init(_ result: HandlerResult) {
    self.result = result
    switch result.outcome {
    case .handled: outcome = .handled
    case .ignored: outcome = .ignored
    case .failed: outcome = .failed
    case .retry: outcome = .retry
    case .deadLetter: outcome = .rejected
    }
  }

  /// It was handled before.
  static let duplicate = InboxVerdict(HandlerResult(.handled, isCommitted: true), .duplicate)

  static func idReused(_ id: String) -> InboxVerdict {
    InboxVerdict(
      HandlerResult(
        .deadLetter(
          .init(
            cause: "idReused", text: "the id \(id) was handled before with another body: its publisher uses it twice"))),
      .idReused)
  }

  static let tooOldToKnow = InboxVerdict(
    HandlerResult(
      .deadLetter(
        .init(
          cause: "tooOldToKnow",
          text: "records of events of its age are removed already, so it may have been handled: replay it if it was not"
        ))),
    .tooOldToKnow)
}
