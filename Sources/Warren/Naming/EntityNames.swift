/// The names of Warren's exchanges and queues on the broker. No two different arguments give the same name.
public enum EntityNames {
  private static let exchangePrefix = "events."

  /// `events.<type>`: the topic exchange of an event type.
  public static func exchange(of type: EventType) -> String { exchangePrefix + type.name }

  /// The event type whose exchange has this name; nil for exchanges that are not Warren's.
  public static func type(ofExchange exchange: String) -> EventType? {
    guard exchange.hasPrefix(exchangePrefix) else { return nil }
    return try? EventType(String(exchange.dropFirst(exchangePrefix.count)))
  }

  /// `<owner>.<type>`: where a service's events of one type wait.
  public static func workQueue(of owner: QueueOwner, type: EventType) -> String { "\(owner).\(type.name)" }

  /// `<owner>.dead.<type>`: where the events of one type end that a service could not handle.
  public static func deadLetterQueue(of owner: QueueOwner, type: EventType) -> String { "\(owner).dead.\(type.name)" }

  /// `<owner>.group.<group>`: where a service's events of several types wait together, in one order.
  /// - Throws: ``WarrenError`` with code ``WarrenError/Code/invalidName`` when `group` breaks the rules of service names.
  public static func groupQueue(of owner: QueueOwner, group: String) throws(WarrenError) -> String {
    try validate(group)
    return "\(owner).group.\(group)"
  }

  /// `<owner>.dead.group.<group>`: where the events of a group end that a service could not handle.
  /// - Throws: as ``groupQueue(of:group:)``.
  public static func groupDeadLetterQueue(of owner: QueueOwner, group: String) throws(WarrenError) -> String {
    try validate(group)
    return "\(owner).dead.group.\(group)"
  }

  private static func validate(_ group: String) throws(WarrenError) {
    if let problem = NameRules.problem(withOwner: group) {
      throw WarrenError(.invalidName, "group name \"\(group.shown(64))\" \(problem)")
    }
  }

  /// `<owner>.retry.<delay>`: the exchange and the queue in which a service's events wait so long before they are handled
  /// again. Whole seconds are spelled as such (`60s`), everything else in milliseconds (`500ms`).
  public static func retryRung(of owner: QueueOwner, delay: Duration) -> String {
    let milliseconds = delay.components.seconds * 1000 + delay.components.attoseconds / 1_000_000_000_000_000
    let text = milliseconds.isMultiple(of: 1000) ? "\(milliseconds / 1000)s" : "\(milliseconds)ms"
    return "\(owner).retry.\(text)"
  }
}
