/// What became of one event that was given to a broker.
public enum PublishOutcome: Hashable, Sendable {
  /// The broker has accepted it in every queue that it was routed to.
  case confirmed
  /// The broker took it, but no queue is bound for it: nobody will receive it.
  case unroutable(String)
  /// The broker refuses this event, or everything on its exchange: missing exchange, missing permission, too large.
  case refused(String)
  /// A queue could not take it: it is full, has no leader, or was just deleted. Not the event's fault. Other queues of its
  /// exchange may have taken it.
  case congested(String)
  /// Nothing of it was written to the connection: it was certainly not published.
  case notPublished(String)
  /// It was written and no confirm came back: it may have been published.
  case unknown(String)

  /// True for ``confirmed``.
  public var isConfirmed: Bool { self == .confirmed }
}
