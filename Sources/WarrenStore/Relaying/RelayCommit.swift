/// What the relay has learned and writes in one transaction: the checkpoint never gets past an entry without the row that
/// says why it is held.
struct RelayCommit: Sendable {
  struct Held: Sendable {
    var position: Int64
    var lane: Lane
    var reason: HoldReason
    /// Why the oldest entry of the lane is held.
    var cause: HoldReason
    var text: String
    /// Milliseconds until the next try; nil: an operator decides, or the oldest entry of the lane.
    var delay: Int64?
  }
  struct Change: Sendable {
    var position: Int64
    var reason: HoldReason
    var text: String
    var delay: Int64?
  }

  /// Milliseconds.
  static let maximumAge: Int64 = 50
  static let maximumWeight = 500

  var from: Int64
  var to: Int64
  /// Entries and bytes that the checkpoint gets past.
  var rows = 0
  var bytes = 0
  var held: [Held] = []
  var changed: [Change] = []
  /// Held entries that are confirmed now.
  var released: [Int64] = []

  var weight: Int { rows + held.count + changed.count + released.count }
}
