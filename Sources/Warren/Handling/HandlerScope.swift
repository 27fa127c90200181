import WarrenSupport

/// One run of a handler: collects what it publishes and what it decides.
///
/// Bound to the handler's task and its child tasks, so a publisher can tell that it is called inside a handler.
package final class HandlerScope: Sendable {
  @TaskLocal package static var current: HandlerScope?

  /// The delivery that is being handled.
  package let delivery: Delivery
  private let name: String

  private struct State {
    var collected: [CollectedEvent] = []
    var decision: HandlerOutcome?
    var isOpen = true
  }
  private let state = InlineLock(State())

  package init(delivery: Delivery, name: String) {
    self.delivery = delivery
    self.name = name
  }

  /// Takes an event; false when the handler has ended, and a task that outlived it publishes by itself.
  ///
  /// Without an id of the publisher's choice the event gets the derived one, so that handling again repeats it.
  package func collect(_ event: EncodedEvent, hasChosenID: Bool, for publisher: any EncodedPublisher) -> EventID? {
    let cause = delivery.metadata
    return state.withLock { state in
      guard state.isOpen else { return nil }
      var event = event
      if !hasChosenID, let id = cause.id {
        let type = event.metadata.type
        let ordinal = state.collected.count { $0.event.metadata.type == type }
        event.metadata.id = .derived(from: id, of: delivery, handler: name, type: type, ordinal: ordinal)
      }
      state.collected.append(CollectedEvent(event: event, publisher: publisher))
      return event.metadata.id
    }
  }

  func decide(_ outcome: HandlerOutcome) {
    state.withLock { $0.decision = outcome }
  }

  /// Runs a handler's body: a decision it made stands above its return or throw; only success lets its publishes go.
  package static func run(
    _ delivery: Delivery, name: String, _ body: (HandlerContext) async throws -> Void
  ) async -> HandlerResult {
    let scope = HandlerScope(delivery: delivery, name: name)
    var outcome = HandlerOutcome.handled
    do {
      try await $current.withValue(scope) { try await body(HandlerContext(delivery: delivery, scope: scope)) }
    } catch {
      outcome = .failed(error)
    }
    return scope.end(outcome)
  }

  /// The same for a body that does not suspend.
  package static func runNow(
    _ delivery: Delivery, name: String, _ body: (HandlerContext) throws -> Void
  ) -> HandlerResult {
    let scope = HandlerScope(delivery: delivery, name: name)
    var outcome = HandlerOutcome.handled
    do {
      try $current.withValue(scope) { try body(HandlerContext(delivery: delivery, scope: scope)) }
    } catch {
      outcome = .failed(error)
    }
    return scope.end(outcome)
  }

  /// What the handler sees of this run.
  package var context: HandlerContext { HandlerContext(delivery: delivery, scope: self) }

  /// Closes the run and says what it came to.
  package func end(_ outcome: HandlerOutcome) -> HandlerResult {
    let (decision, collected) = state.withLock { state in
      state.isOpen = false
      return (state.decision, state.collected)
    }
    if let decision { return HandlerResult(decision) }
    if case .handled = outcome { return HandlerResult(.handled, collected: collected) }
    return HandlerResult(outcome)
  }
}

extension EventID {
  /// The id of the `ordinal`-th event of `type` that a handler publishes for a delivery. The type counts, because the tasks
  /// of one handler may publish in any order; source and body count, because a foreign producer may give the same id to
  /// different events.
  package static func derived(
    from id: EventID, of delivery: Delivery, handler: String, type: EventType, ordinal: Int
  ) -> EventID {
    var hash = StableHash()
    hash.combine(delivery.metadata.source ?? "")
    hash.combine(delivery.body)
    return .derived(from: id, handler: "\(handler) \(type) \(hash.value)", ordinal: ordinal)
  }
}
