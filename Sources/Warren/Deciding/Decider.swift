/// A thing whose state is what its events made of it: a value that decides what a command leads to, and changes by events only.
///
/// ```swift
/// struct Account: Decider {
///   enum Command: Sendable { case open(owner: String), withdraw(cents: Int) }
///   enum Event: EventFamily {
///     static let family: EventType = "account"
///     static var eventTypes: [EventType] { ["account.opened", "account.withdrawn"] }
///     case opened(owner: String), withdrawn(cents: Int)
///   }
///   enum Refusal: Error { case notOpen, notEnough(cents: Int) }
///   static let category = "account"
///
///   var owner: String?
///   var cents = 0
///
///   func decide(_ command: Command) throws(Refusal) -> [Event] { … }
///   mutating func evolve(_ event: Event) { … }
/// }
/// ```
/// Both functions use nothing but their arguments and the value: no clock, no randomness, no input or output. So the same
/// events always make the same state, and a test needs neither a database nor a broker.
public protocol Decider: Sendable {
  /// What it can be asked to do.
  associatedtype Command: Sendable
  /// What can have happened to it: a family, or a single type.
  associatedtype Event: Warren.Event
  /// Why it does not do what it is asked to.
  associatedtype Refusal: Error

  /// The first part of its streams' names, without `-`. Stable: it is in the file.
  static var category: String { get }

  /// The state before the first event.
  init()
  /// The events that a command leads to; none when there is nothing to do. It changes nothing.
  func decide(_ command: Command) throws(Refusal) -> [Event]
  /// The state behind one more event. What has happened cannot be refused.
  mutating func evolve(_ event: Event)
}

extension Decider {
  /// The state behind these events.
  public init(_ history: some Sequence<Event>) {
    self.init()
    for event in history { evolve(event) }
  }

  /// The state behind these events.
  public mutating func evolve(_ events: some Sequence<Event>) {
    for event in events { evolve(event) }
  }
}

/// A decider whose state is stored every so often, so that long streams are not read from their beginning.
///
/// Nothing depends on snapshots: one that is missing, of another version, or unreadable is passed over.
public protocol SnapshottingDecider: Decider, Codable {
  /// The version of the state's shape, 1 unless you say otherwise. Raise it with every change to the stored properties or to
  /// what ``Decider/evolve(_:)`` does: older snapshots are not used then.
  static var snapshotVersion: Int { get }
  /// A snapshot is written when an append passes a multiple of this version. 100 unless you say otherwise.
  static var snapshotEvery: Int { get }
}

extension SnapshottingDecider {
  /// The first version.
  public static var snapshotVersion: Int { 1 }
  /// Every 100 events.
  public static var snapshotEvery: Int { 100 }
}
