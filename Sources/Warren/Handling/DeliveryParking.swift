#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// Where deliveries wait that cannot be handled now: a store, which keeps them exactly as long as they are to wait and in
/// their order. What is parked is acknowledged at the broker.
public protocol DeliveryParking: Sendable {
  /// True when both keep deliveries in the same place.
  func isSame(as other: any DeliveryParking) -> Bool
  /// Makes a delivery safe; it is acknowledged when this returns. With a key, later deliveries of that key must follow it.
  func park(_ delivery: ParkedDelivery) async throws
  /// Parks it behind those of its key that are parked already; false, and nothing is done, when there are none.
  func parkBehind(_ delivery: ParkedDelivery) async throws -> Bool
  /// Hands out what is due, the deliveries of one key in order and one at a time, and does with each what `handle` says.
  /// Runs until its task is cancelled.
  func run(queue: String, _ handle: @escaping @Sendable (ParkedDelivery) async -> ParkedEnd) async
}

/// A delivery that waits in a store.
public struct ParkedDelivery: Hashable, Sendable {
  /// The queue that it came from.
  public var queue: String
  /// The key whose order it keeps; nil when it has none.
  public var key: String?
  /// The message as the broker side needs it again; nobody else reads it.
  public var message: Data
  /// When it is to be handled.
  public var due: Date

  /// Makes one.
  public init(queue: String, key: String?, message: Data, due: Date) {
    self.queue = queue
    self.key = key
    self.message = message
    self.due = due
  }
}

/// What came of a parked delivery.
public enum ParkedEnd: Sendable {
  /// It is done with, in whatever way: forget it.
  case done
  /// It failed and waits again, as it is now.
  case again(ParkedDelivery)
  /// It was stopped: it stays as it was.
  case leave
}
