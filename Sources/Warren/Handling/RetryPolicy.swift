/// What is done with an event whose handler throws: again at once, again later, or to the dead letters.
///
/// ```swift
/// let policy = RetryPolicy(inPlace: [.milliseconds(100)], delays: [.seconds(5), .seconds(60)])
///   .deadLettering(ValidationError.self)
/// ```
/// A *round* is one delivery: the handler runs, and after each of the pauses in ``inPlace`` it runs again, on the same
/// delivery. When all of that has failed, the event waits for the next of the ``delays`` outside the service's queue and comes
/// back as the next round; other events are handled meanwhile. After the last round it goes to the dead letters. A
/// process that dies in a round costs nothing here: the broker delivers the event again, in the same round.
public struct RetryPolicy: Sendable {
  /// The pauses before further tries on the same delivery, which keeps its place among the running handlers meanwhile: at
  /// most 10, each up to 60 s.
  public var inPlace: [Duration]
  /// The waits before further rounds: at most 100, each 1 ms to 30 days. Without a store an event waits in a retry queue with
  /// a fixed delay, so it comes back after the shortest delay of the subscriber's ladder that is at least as long, or after
  /// the longest.
  public var delays: [Duration]
  /// Spreads the waits: with a store by up to a fifth longer, without one to the next longer delay of the ladder, by chance.
  public var isJittered: Bool
  private var rules: [Rule] = []

  /// What a rule says about an error.
  private struct Rule: Sendable {
    var action: @Sendable (any Error) -> Action?
  }
  private enum Action {
    case deadLetter
    case ignore
    case retry(inPlace: [Duration], delays: [Duration])
  }

  /// Makes a policy; without arguments nothing is tried again.
  public init(inPlace: [Duration] = [], delays: [Duration] = [], isJittered: Bool = false) {
    self.inPlace = inPlace
    self.delays = delays
    self.isJittered = isJittered
  }

  /// Nothing is tried again: what throws goes to the dead letters.
  public static let never = RetryPolicy()

  /// What a subscriber does by default: again after 0.1 and 1 s in place, then after 5 s, 30 s, 2 min and 10 min.
  public static let standard = RetryPolicy(
    inPlace: [.milliseconds(100), .seconds(1)],
    delays: [.seconds(5), .seconds(30), .seconds(120), .seconds(600)])

  // MARK: Errors that are different

  /// The same policy, but errors of this type go to the dead letters at once. The first rule that fits an error stands.
  public func deadLettering<E: Error>(
    _ type: E.Type, where isMeant: @escaping @Sendable (E) -> Bool = { _ in true }
  ) -> RetryPolicy {
    adding { error in (error as? E).map(isMeant) == true ? .deadLetter : nil }
  }

  /// The same policy, but an event whose handler throws this type of error is acknowledged as not handled.
  public func ignoring<E: Error>(
    _ type: E.Type, where isMeant: @escaping @Sendable (E) -> Bool = { _ in true }
  ) -> RetryPolicy {
    adding { error in (error as? E).map(isMeant) == true ? .ignore : nil }
  }

  /// The same policy, with other pauses and waits for errors of this type.
  public func retrying<E: Error>(
    _ type: E.Type, inPlace: [Duration] = [], delays: [Duration] = [],
    where isMeant: @escaping @Sendable (E) -> Bool = { _ in true }
  ) -> RetryPolicy {
    adding { error in (error as? E).map(isMeant) == true ? .retry(inPlace: inPlace, delays: delays) : nil }
  }

  private func adding(_ action: @escaping @Sendable (any Error) -> Action?) -> RetryPolicy {
    var policy = self
    policy.rules.append(Rule(action: action))
    return policy
  }

  // MARK: Deciding

  package enum Decision: Equatable, Sendable {
    case inPlace(after: Duration)
    case later(after: Duration)
    case deadLetter
    case ignore
  }

  /// What is next after `tries` failed runs (1 or more) on the delivery of round `round` (1 or more).
  package func decision(after error: any Error, tries: Int, round: Int) -> Decision {
    var (inPlace, delays) = (inPlace, delays)
    search: for rule in rules {
      switch rule.action(error) {
      case .deadLetter: return .deadLetter
      case .ignore: return .ignore
      case .retry(let pauses, let waits):
        (inPlace, delays) = (pauses, waits)
        break search
      case nil: continue
      }
    }
    if tries >= 1, tries <= inPlace.count { return .inPlace(after: inPlace[tries - 1]) }
    if round >= 1, round <= delays.count { return .later(after: delays[round - 1]) }
    return .deadLetter
  }

  /// What is not allowed about it; nil when it can be used. Rules are looked at when their error comes.
  package var problem: String? {
    if inPlace.count > 10 { return "inPlace has \(inPlace.count) pauses: allowed are up to 10" }
    for pause in inPlace where pause < .zero || pause > .seconds(60) {
      return "a pause of inPlace is \(pause): allowed is 0 s to 60 s"
    }
    if delays.count > 100 { return "delays has \(delays.count) waits: allowed are up to 100" }
    for delay in delays where delay < .milliseconds(1) || delay > .seconds(30 * 86_400) {
      return "one of the delays is \(delay): allowed is 1 ms to 30 days"
    }
    return nil
  }
}
