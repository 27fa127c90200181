import BrokerFixture
import Foundation

/// What a connection could leave behind in this process.
struct Leaks: Equatable, CustomStringConvertible {
  var threads: Int
  var sockets: Int
  /// The runtime has some of these too, opened when they are first needed.
  var wakeups: Int

  /// Threads of connections, TCP sockets and wake-up descriptors. Pipes and the like are of child processes.
  static var now: Leaks {
    let files = FileManager.default
    let tasks = (try? files.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    let names = tasks.map { text("/proc/self/task/\($0)/comm") }
    let tcp = Set((text("/proc/self/net/tcp") + text("/proc/self/net/tcp6")).split(whereSeparator: \.isWhitespace))
    let descriptors = (try? files.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    let targets = descriptors.compactMap { try? files.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)") }
    return Leaks(
      threads: names.count { $0.hasPrefix("warren-amqp") },
      sockets: targets.count { $0.hasPrefix("socket:[") && tcp.contains($0.dropFirst(8).dropLast()) },
      wakeups: targets.count { $0.contains("[eventfd]") })
  }

  private static func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

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

  var description: String { "\(threads) threads, \(sockets) sockets, \(wakeups) wake-up descriptors" }

  /// True when no more is there than before, once what is just ending has ended.
  static func areGone(since before: Leaks, butWakeups: Bool = false) async throws -> Bool {
    try await eventually {
      let now = Leaks.now
      return now.threads <= before.threads && now.sockets <= before.sockets
        && (butWakeups || now.wakeups <= before.wakeups)
    }
  }
}
