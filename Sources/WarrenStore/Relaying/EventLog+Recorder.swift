import GRDB
public import Warren
import WarrenSupport

extension EventLog: EventRecorder {
  /// Returns when it is known what became of what was recorded at these positions, one outcome each; see
  /// ``EventRecorder/waitUntilPublished(_:timeout:)``. The relay may run in another process.
  public func waitUntilPublished(_ positions: [LogPosition], timeout: Duration) async throws -> [PublishOutcome] {
    let end = ContinuousClock.now + timeout
    let ticket = confirms.enter(Set(positions.map(\.rawValue)))
    defer { confirms.leave(ticket) }
    var isFirst = true
    while true {
      // The relay of this process tells at once; of another one, or what is held, only the file does.
      if isFirst { await ticket.wait(atMost: .milliseconds(20)) }
      isFirst = false
      if ticket.isDone { return positions.map { _ in .confirmed } }
      let outcomes = try await outcomes(positions)
      let isOver = ContinuousClock.now >= end || Task.isCancelled
      if isOver || !outcomes.contains(nil) {
        return outcomes.map {
          $0
            ?? .notPublished(
              "recorded, and not confirmed by the broker yet: it is delivered later. Is the relay running?")
        }
      }
      await ticket.wait(atMost: .milliseconds(50))
    }
  }

  /// Nil for what is under way.
  private func outcomes(_ positions: [LogPosition]) async throws -> [PublishOutcome?] {
    try await read(doing: "reading the log") { db in
      let checkpoint = try Int64.fetchOne(db, sql: "SELECT position FROM warren_readers WHERE name = 'relay'") ?? 0
      return try positions.map { position in
        let held = try RawStatement("SELECT reason, cause, text FROM warren_held WHERE position = ?", db)
        held.bind(1, position.rawValue)
        guard try held.step() else { return position.rawValue <= checkpoint ? .confirmed : nil }
        defer { held.reset() }
        let reason = HoldReason(rawValue: held.text(0) ?? "")
        let text = held.text(2) ?? ""
        switch reason == .behind ? HoldReason(rawValue: held.text(1) ?? "") : reason {
        case .unroutable: return .unroutable(text)
        case .congested: return .congested(text)
        case .exchange, .refused: return .refused(text)
        case .behind, nil: return .notPublished("it is held back")
        }
      }
    }
  }
}
