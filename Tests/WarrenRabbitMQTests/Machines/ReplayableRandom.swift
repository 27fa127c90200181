import Foundation
import Testing

/// The numbers that a random test runs on. `WARREN_SEED=<number>` repeats a run; without it every run has a new seed.
///
/// SplitMix64 (Steele, Lea and Flood). Each test has a sequence of its own, which depends on the seed and the test's name
/// but not on the order in which tests run. Loops on it yield in each round, so that tests beside them, which wait for a
/// broker with a deadline, get their turn.
struct ReplayableRandom: RandomNumberGenerator {
  static let seed: UInt64 = {
    let seed =
      ProcessInfo.processInfo.environment["WARREN_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0...UInt64.max)
    // Printed before anything is tried, because a trap prints no failure.
    print("WARREN_SEED=\(seed)")
    return seed
  }()

  private var state: UInt64

  init(_ test: String = #function) {
    state = test.utf8.reduce(Self.seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  /// The same in every run.
  init(fixed seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// How to see a failure again.
  var replay: Comment { "repeat with WARREN_SEED=\(Self.seed)" }

  mutating func int(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &self) }

  mutating func oneIn(_ n: Int) -> Bool { int(1...n) == 1 }

  mutating func pick<C: RandomAccessCollection>(_ choices: C) -> C.Element {
    choices[choices.index(choices.startIndex, offsetBy: int(0...(choices.count - 1)))]
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { withUnsafeBytes(of: next()) { bytes.append(contentsOf: $0) } }
    bytes.removeLast(bytes.count - count)
    return bytes
  }

  /// Text of at most so many bytes, with what is awkward in strings.
  mutating func text(upTo limit: Int) -> String {
    let pieces = [
      "a", "Z", "0", ".", "-", " ", "'", "\"", "\\", "%", "/", "@", ":", "é", "e\u{301}", "🐇", "日本", "\u{1}",
      "\u{feff}",
    ]
    var text = ""
    for _ in 0..<int(0...12) {
      let piece = pick(pieces)
      if text.utf8.count + piece.utf8.count <= limit { text += piece }
    }
    return text
  }
}
