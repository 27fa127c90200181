import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

private func readUsage(_ usage: inout rusage) -> Int32 {
  #if canImport(Glibc)
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  #else
    getrusage(RUSAGE_SELF, &usage)
  #endif
}

/// Wall time and this process's user and system time.
struct Stopwatch {
  private let wall = ContinuousClock.now
  private let cpu = Self.cpuMicroseconds()

  static func cpuMicroseconds() -> Int {
    var usage = rusage()
    _ = readUsage(&usage)
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000
      + Int(usage.ru_utime.tv_usec) + Int(usage.ru_stime.tv_usec)
  }

  static func peakKilobytes() -> Int {
    var usage = rusage()
    _ = readUsage(&usage)
    #if canImport(Darwin)
      return usage.ru_maxrss / 1024
    #else
      return usage.ru_maxrss
    #endif
  }

  func stop() -> (seconds: Double, cpuMicroseconds: Int) {
    ((ContinuousClock.now - wall) / .seconds(1), Self.cpuMicroseconds() - cpu)
  }
}

/// One line of a measurement.
struct Measurement {
  var bench: String
  /// Nil where there is none.
  var queue: BenchQueue?
  var count: Int
  var window: Int?
  var callers: Int?
  var size: Int
  var seconds: Double
  var cpuMicroseconds: Int
  var latencies: [Double] = []
  /// The median time of one sync of the disk in this run.
  var syncMicroseconds: Double?
  /// To what it is compared with, measured in the same run.
  var ratio: Double?

  var rate: Double { Double(count) / seconds }

  func emitLine() throws {
    func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }
    var fields = [
      #""bench":"\#(bench)""#, queue.map { #""queue":"\#($0.rawValue)""# }, #""n":\#(count)"#,
      window.map { #""window":\#($0)"# },
    ].compactMap(\.self)
    if let callers { fields.append(#""callers":\#(callers)"#) }
    fields.append(#""size":\#(size)"#)
    fields.append(#""rate":\#(number(Double(count) / seconds, 0))"#)
    fields.append(#""cpu_us":\#(number(Double(cpuMicroseconds) / Double(count), 2))"#)
    if !latencies.isEmpty {
      let sorted = latencies.sorted()
      fields.append(#""p50_us":\#(number(sorted[sorted.count / 2], 0))"#)
      fields.append(#""p99_us":\#(number(sorted[min(sorted.count - 1, sorted.count * 99 / 100)], 0))"#)
    }
    if let syncMicroseconds { fields.append(#""sync_us":\#(number(syncMicroseconds, 0))"#) }
    if let ratio { fields.append(#""ratio":\#(number(ratio, 3))"#) }
    fields.append(#""rss_kb":\#(Stopwatch.peakKilobytes())"#)
    try emit(Array("{\(fields.joined(separator: ","))}".utf8))
  }
}
