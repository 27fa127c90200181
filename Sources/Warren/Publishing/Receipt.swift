/// What an awaited publish promises when it returns.
public enum Receipt: Hashable, Sendable {
  /// The broker has confirmed the event: it is in every queue that it was routed to.
  case confirmed(EventID)
  /// The event is in the log, durably, and will be delivered by the log's relay.
  case recorded(EventID, LogPosition)
  /// The publish was made inside a handler: the event leaves when the handler has succeeded, and not at all otherwise.
  case collected(EventID)

  /// The event's id.
  public var id: EventID {
    switch self {
    case .confirmed(let id), .recorded(let id, _), .collected(let id): id
    }
  }

  /// Where the event stands in the log, if it was recorded.
  public var position: LogPosition? {
    if case .recorded(_, let position) = self { position } else { nil }
  }
}
