/// What an awaited publish promises when it returns.
public enum Receipt: Hashable, Sendable {
  /// The broker has confirmed the event: it is in every queue that it was routed to.
  case confirmed(EventID)
  /// The publish was made inside a handler: the event leaves when the handler has succeeded, and not at all otherwise.
  case collected(EventID)

  /// The event's id.
  public var id: EventID {
    switch self {
    case .confirmed(let id), .collected(let id): id
    }
  }
}
