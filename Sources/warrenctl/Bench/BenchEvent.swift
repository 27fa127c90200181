import Foundation
import Warren

/// What is sent in every measurement: a few fields of the usual kinds, padded to the size that was asked for.
struct BenchEvent: Event {
  static let eventType: EventType = "warren.bench"
  var amount: Double
  var customer: String
  var id: Int
  var note: String
  var paid: Bool
  var placedAt: Date

  init(id: Int, note: String) {
    self.id = id
    self.note = note
    amount = 129.95
    customer = "customer-4711"
    paid = true
    placedAt = Date(milliseconds: 1_750_000_000_000 + Int64(id))
  }

  /// The note that brings the body to `size` bytes, for ids with as many digits as `id`.
  static func note(size: Int, id: Int) throws -> String {
    let empty = try BenchEvent(id: id, note: "").encoded().body.count
    return String(repeating: "x", count: max(0, size - empty))
  }
}
