import BrokerFixture
import Foundation

/// What a connection could leave behind in this process.
struct Leaks: Equatable, CustomStringConvertible {
  var threads: Int
  var descriptors: Int

  /// Threads of connections, and open descriptors.
  static var now: Leaks {
    let files = FileManager.default
    let tasks = (try? files.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    let names = tasks.map { (try? String(contentsOfFile: "/proc/self/task/\($0)/comm", encoding: .utf8)) ?? "" }
    return Leaks(
      threads: names.count { $0.hasPrefix("warren-amqp") },
      descriptors: (try? files.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0)
  }

  /// What is there before a test. The runtime's own timers open a descriptor when they are first used.
  static func before() async throws -> Leaks {
    _ = try await eventually(timeout: .milliseconds(50)) { false }
    return now
  }

  /// Resident memory, in bytes.
  static var residentBytes: Int {
    let fields = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.split(separator: " ") ?? []
    return fields.count > 1 ? (Int(fields[1]) ?? 0) * 4096 : 0
  }

  var description: String { "\(threads) threads, \(descriptors) descriptors" }

  /// True when no more is there than before, once what is just ending has ended.
  static func areGone(since before: Leaks) async throws -> Bool {
    try await eventually {
      let now = Leaks.now
      return now.threads <= before.threads && now.descriptors <= before.descriptors
    }
  }
}
