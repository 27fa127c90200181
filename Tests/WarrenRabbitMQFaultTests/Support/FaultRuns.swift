import Foundation

/// How long the fault tests are: a selection in `scripts/test`, all of it in `scripts/torture faults`.
enum FaultRuns {
  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap(UInt64.init)
  }

  /// `WARREN_FAULT_RUNS`: how many seeded runs.
  static let count = Int(number("WARREN_FAULT_RUNS") ?? 8)
  /// `WARREN_FAULT_TERMS`: how often a worker is told to stop.
  static let terms = Int(number("WARREN_FAULT_TERMS") ?? 6)
  /// `WARREN_FAULT_SEED`: the first run's seed. To see one run again: its seed, and one run.
  static let seed = number("WARREN_FAULT_SEED") ?? UInt64.random(in: 0...UInt64(UInt32.max))
  /// `WARREN_FAULT_STEP`: every so many bytes a cut; 1 is after every byte.
  static let step = Int(number("WARREN_FAULT_STEP") ?? 13)
  /// `WARREN_FAULT_SECONDS`: how long an alarm lasts, and how long a broker is under load.
  static let seconds = Int(number("WARREN_FAULT_SECONDS") ?? 4)

  /// The cut points up to `last`: with a step of more than one they begin anywhere, so that runs differ.
  static func points(upTo last: Int) -> [Int] { Array(stride(from: Int.random(in: 1...step), through: last, by: step)) }
}

/// SplitMix64 (Steele, Lea and Flood).
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
