import CHeap
import Foundation

/// What the process holds at one moment.
struct Resources: CustomStringConvertible {
  var residentKB: Int
  /// 0 where it is not known.
  var heapBytes: Int
  var descriptors: Int
  var threads: Int

  /// From Linux' `/proc`.
  static func now() throws -> Resources {
    // Not by lines and then words: what this allocates would be in the figures.
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    func number(_ name: String) throws -> Int {
      guard let start = status.range(of: "\n\(name):") else { throw Problem("/proc/self/status has no \(name)") }
      let digits = status[start.upperBound...].drop { !$0.isNumber }.prefix { $0.isNumber }
      guard let value = Int(digits) else { throw Problem("/proc/self/status has no number for \(name)") }
      return value
    }
    return Resources(
      residentKB: try number("VmRSS"), heapBytes: Int(heap_bytes_in_use()),
      descriptors: try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count,
      threads: try number("Threads"))
  }

  /// Once descriptors and threads are down to those of `baseline`, or the time is over: what a connection leaves behind
  /// ends soon after `withRabbitMQ` has returned, and not before it.
  static func settled(to baseline: Resources, within limit: Duration = .seconds(10)) async throws -> Resources {
    let deadline = ContinuousClock.now + limit
    while true {
      let now = try now()
      let isDown = now.descriptors <= baseline.descriptors && now.threads <= baseline.threads + Allowance.threads
      if isDown || ContinuousClock.now > deadline { return now }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  /// Once descriptors and threads have been the same for a second.
  static func settled() async throws -> Resources {
    var last = try now()
    var since = ContinuousClock.now
    while ContinuousClock.now < since + .seconds(1) {
      try await Task.sleep(for: .milliseconds(50))
      let now = try now()
      if now.descriptors != last.descriptors || now.threads != last.threads { since = .now }
      last = now
    }
    return last
  }

  var description: String {
    let heap = heapBytes == 0 ? "unknown" : "\(heapBytes / 1024) kB"
    return "resident \(residentKB) kB, heap \(heap), \(descriptors) descriptors, \(threads) threads"
  }
}

/// What may be left of a run after its warm-up.
struct Allowance {
  /// The pool that runs tasks has now one more and now one less.
  static let threads = 2

  var residentKB: Int
  var heapBytes: Int

  /// What has grown beyond it, in words.
  func exceeded(from before: Resources, to after: Resources, memory: Bool) -> [String] {
    var problems: [String] = []
    func check(_ what: String, _ before: Int, _ after: Int, allowed: Int) {
      if after <= before + allowed { return }
      problems.append("\(what) went from \(before) to \(after), allowed are \(allowed) more")
    }
    check("open descriptors", before.descriptors, after.descriptors, allowed: 0)
    check("threads", before.threads, after.threads, allowed: Self.threads)
    if memory {
      check("resident kB", before.residentKB, after.residentKB, allowed: residentKB)
      check("heap bytes", before.heapBytes, after.heapBytes, allowed: heapBytes)
    }
    return problems
  }
}

struct Problem: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
