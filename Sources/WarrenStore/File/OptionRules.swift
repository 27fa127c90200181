/// Settings that would break a promise, or do nothing in silence, are errors.
enum OptionRules {
  static func check<V: Comparable>(_ name: String, _ value: V, _ allowed: ClosedRange<V>) throws(StoreError) {
    guard allowed.contains(value) else {
      throw StoreError(
        .invalidConfiguration, "\(name) is \(value): allowed is \(allowed.lowerBound) to \(allowed.upperBound)")
    }
  }
}

extension EventLog.Options {
  func validate() throws(StoreError) {
    try OptionRules.check("busyTimeout", busyTimeout, .zero ... .seconds(600))
    try OptionRules.check("timeout", timeout, .milliseconds(1) ... .seconds(3600))
    try OptionRules.check("longestTransaction", longestTransaction, .milliseconds(1) ... .seconds(3600))
    try OptionRules.check("maximumBodySize", maximumBodySize, 1...(512 << 20))
    for (name, bound) in [
      ("maximumBacklogRows", maximumBacklogRows), ("maximumBacklogBytes", maximumBacklogBytes),
      ("minimumFreeDisk", minimumFreeDisk),
    ] {
      if let bound { try OptionRules.check(name, bound, 1 ... .max) }
    }
  }
}

extension Relay.Options {
  func validate() throws(StoreError) {
    try OptionRules.check("window", window, 1...10_000)
    try OptionRules.check("mostUnroutable", mostUnroutable, 0 ... .max)
    try OptionRules.check("longestUnroutable", longestUnroutable, .zero ... .seconds(3650 * 86_400))
    try OptionRules.check("gracePeriod", gracePeriod, .zero ... .seconds(1800))
  }
}
