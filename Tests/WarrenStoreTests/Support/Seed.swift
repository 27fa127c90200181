import Foundation
import Testing

/// The seed of this run. `WARREN_TEST_SEED=<number>` repeats a run; without it every run has a new one.
enum Seed {
  static let run: UInt64 = {
    let seed =
      ProcessInfo.processInfo.environment["WARREN_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0...UInt64.max)
    // Printed before anything is tried, because a trap prints no failure.
    print("WARREN_TEST_SEED=\(seed)")
    return seed
  }()
}

/// SplitMix64 (Steele, Lea and Flood). Each test has its own sequence, which depends on the seed and the test's name
/// but not on the order in which tests run.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ test: String = #function) {
    state = test.utf8.reduce(Seed.run) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// How to see a failure again.
  var replay: Comment { "repeat with WARREN_TEST_SEED=\(Seed.run)" }

  mutating func int(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &self) }

  mutating func oneIn(_ n: Int) -> Bool { int(1...n) == 1 }

  mutating func pick<C: RandomAccessCollection>(_ choices: C) -> C.Element {
    choices[choices.index(choices.startIndex, offsetBy: int(0...(choices.count - 1)))]
  }
}
