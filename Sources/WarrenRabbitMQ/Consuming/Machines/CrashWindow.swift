/// How many deliveries the broker may send ahead, by how often they have come back: so that an event whose handler ends the
/// process is found alone, and takes nobody along to the delivery limit.
///
/// A reading begins with one delivery at a time, and opens to its prefetch with the first one that has come back less than
/// twice. When one that has come back more often arrives in the open window, no such one is handled; the reading ends when the
/// handlers have, which returns it, and the next reading begins with one at a time again. One that comes alone and has
/// come back five times is what ends the process: it goes to the dead letters without being handled.
struct CrashWindow {
  /// A delivery that has come back so often is not handled beside others.
  static let suspicious = 2
  /// Alone, it is not handled any more.
  static let dead = 5

  private enum Phase {
    case probing
    case open
    case closing
  }
  private var phase: Phase
  let limit: Int

  /// Without probing it is open from the start: for queues that count no deliveries, or where nothing comes back.
  init(limit: Int, isProbing: Bool) {
    self.limit = limit
    phase = isProbing ? .probing : .open
  }

  enum Step: Equatable {
    case handle
    /// And let the broker send more.
    case handleAndOpen
    /// It has come back too often: dead-letter it.
    case bury
    /// Neither; the reading is to end when what was begun has ended.
    case leave
  }

  /// What to do with a delivery that has come back `returns` times.
  mutating func received(returns: Int) -> Step {
    switch phase {
    case .probing:
      if returns >= Self.dead { return .bury }
      if returns >= Self.suspicious { return .handle }
      phase = .open
      return limit > 1 ? .handleAndOpen : .handle
    case .open:
      // Alone in any case.
      if limit == 1 { return returns >= Self.dead ? .bury : .handle }
      if returns < Self.suspicious { return .handle }
      phase = .closing
      return .leave
    case .closing:
      return .leave
    }
  }

  /// Nothing is sent beside what is handled.
  var isProbing: Bool { if case .probing = phase { true } else { limit == 1 } }
  var isClosing: Bool { if case .closing = phase { true } else { false } }
}
