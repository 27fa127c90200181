/// What is delivered in order: the events of one exchange and key. Events without a key share a lane and have no order.
struct Lane: Hashable, Sendable {
  var exchange: String
  var key: String?

  var isOrdered: Bool { key != nil }
}

/// Why an entry waits behind the checkpoint.
enum HoldReason: String, Sendable, CaseIterable {
  /// No queue is bound for it.
  case unroutable
  /// A queue is full or has no leader.
  case congested
  /// Its exchange is missing or forbidden.
  case exchange
  /// The broker refuses the event itself. Waits for an operator.
  case refused
  /// Its lane has held entries before it.
  case behind
}

/// What a publish of one entry showed.
enum Verdict: Hashable, Sendable {
  case confirmed
  /// Nothing was learned about the entry: the broker is away, or slow.
  case away
  case failed(HoldReason, String)
}
