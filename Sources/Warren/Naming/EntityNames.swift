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
}
