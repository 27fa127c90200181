import Foundation
import Testing
import Warren

/// The ids of what a handler publishes. They must be the same in every process and every version, or a repeat is not
/// recognised as one.
@Suite struct DerivedIDTests {
  /// Computed with an independent program.
  @Test(arguments: [
    ("0190b8a4-1c6a-7000-8000-000000000001", "mailer.user.created", 0, "f0d823bb-3b5d-8658-bbae-a3d63d38fe09"),
    ("0190b8a4-1c6a-7000-8000-000000000001", "mailer.user.created", 1, "f0d823bd-3b5d-8658-bbae-a3d63d39f070"),
    ("0190b8a4-1c6a-7000-8000-000000000001", "mailer_audit.user.created", 0, "ecf490a1-26b1-8d40-a498-288f93b226e1"),
    ("order/42", "billing.order.placed", 12, "7e12d109-cc1f-88e3-849b-3c9232f65f58"),
    ("é", "", -1, "2e54dcc2-534f-878b-841c-454d3eb0b46e"),
  ])
  func goldenValues(_ cause: String, _ handler: String, _ ordinal: Int, _ expected: String) throws {
    #expect(EventID.derived(from: try id(cause), handler: handler, ordinal: ordinal).text == expected)
  }

  /// FNV-1a with 128 bits over the parts, each with 0xff behind it; then the version and the variant of a UUIDv8.
  private func specified(_ parts: [String]) -> String {
    var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
    let prime: UInt128 = 1 << 88 + 0x13b
    for part in parts {
      for byte in Array(part.utf8) + [0xff] { hash = (hash ^ UInt128(byte)) &* prime }
    }
    hash = hash & ~(0xf << 76) | 8 << 76
    hash = hash & ~(0x3 << 62) | 2 << 62
    let hex = String(hash, radix: 16)
    let digits = Array(String(repeating: "0", count: 32 - hex.count) + hex)
    return [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }.joined(separator: "-")
  }

  @Test func randomValuesFollowTheSpecificationAndAreDistinct() throws {
    var random = SeededGenerator()
    var seen: [String: [String]] = [:]
    for _ in 0..<3000 {
      let cause = random.oneIn(2) ? random.text(of: "ab", length: 1...4) : EventID().text
      let handler = random.text(of: "ab.é", length: 0...4)
      let ordinal = random.int(0...11)
      let derived = EventID.derived(from: try id(cause), handler: handler, ordinal: ordinal)
      let parts = [cause, handler, "\(ordinal)"]
      #expect(derived.text == specified(parts), random.replay)
      if let other = seen.updateValue(parts, forKey: derived.text), other != parts {
        Issue.record("\(other) and \(parts) have the same id (\(random.replay))")
      }
    }
    #expect(seen.count > 1500)
  }

  /// What a naive concatenation would confuse.
  @Test func theBordersBetweenThePartsCount() throws {
    let ids = [
      EventID.derived(from: try id("ab"), handler: "c", ordinal: 1),
      .derived(from: try id("a"), handler: "bc", ordinal: 1),
      .derived(from: try id("abc"), handler: "", ordinal: 1), .derived(from: try id("a"), handler: "b", ordinal: 11),
      .derived(from: try id("a"), handler: "b1", ordinal: 1), .derived(from: try id("a"), handler: "b", ordinal: 1),
    ]
    #expect(Set(ids).count == ids.count)
  }

  @Test func tenThousandEventsOfOneHandlerAreDistinct() {
    let cause = EventID()
    #expect(Set((0..<10_000).map { EventID.derived(from: cause, handler: "h", ordinal: $0) }).count == 10_000)
  }

  @Test func aChainOfDerivedIDsDoesNotRepeat() {
    var id = EventID()
    var seen: Set<EventID> = [id]
    for _ in 0..<2000 {
      id = .derived(from: id, handler: "loop.tick", ordinal: 0)
      #expect(seen.insert(id).inserted)
    }
  }
}
