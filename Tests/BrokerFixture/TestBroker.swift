package import Foundation
import Warren
package import WarrenRabbitMQ

/// The broker that the tests run against: `RABBITMQ_URL`, or one that `scripts/broker` starts and that is stopped at exit.
package enum TestBroker {
  package static let url: String = {
    if let url = ProcessInfo.processInfo.environment["RABBITMQ_URL"], !url.isEmpty { return url }
    let wasRunning = (try? run(["scripts/broker", "url"]))?.status == 0
    guard let started = try? run(["scripts/broker", "start"]), started.status == 0,
      let url = try? run(["scripts/broker", "url"])
    else { return "RABBITMQ_URL is not set and scripts/broker does not start one" }
    if !wasRunning { atexit { _ = try? TestBroker.run(["scripts/broker", "stop"]) } }
    return url.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }()

  package static var configuration: RabbitMQConfiguration {
    get throws { try RabbitMQConfiguration(url: url) }
  }

  /// `WARREN_TEST_BROKER`: a program with the verbs `start`, `pid` and `ctl`, as `scripts/broker` has them.
  private static let program = ProcessInfo.processInfo.environment["WARREN_TEST_BROKER"]

  /// True when the tests may break the broker.
  package static var canBreak: Bool { program != nil }

  /// The same broker without TLS, for clients that know no TLS and for what reads along: `WARREN_TEST_PLAIN_URL` where
  /// the tests run over TLS.
  package static var plainURL: String {
    let plain = ProcessInfo.processInfo.environment["WARREN_TEST_PLAIN_URL"]
    return plain.flatMap { $0.isEmpty ? nil : $0 } ?? url
  }

  package static var plainConfiguration: RabbitMQConfiguration {
    get throws { try RabbitMQConfiguration(url: plainURL) }
  }

  /// `rabbitmqctl` on this broker.
  @discardableResult
  package static func ctl(_ arguments: String...) throws -> String {
    try succeed((program.map { [$0] } ?? ["scripts/broker"]) + ["ctl"] + arguments)
  }

  /// The broker's process; nil when the tests may not break it.
  package static var processID: Int32? {
    guard let program, let text = try? succeed([program, "pid"]) else { return nil }
    return Int32(text.trimmingCharacters(in: .whitespacesAndNewlines))
  }

  /// Starts it again after it was killed, and returns when it takes connections and its queues have leaders.
  ///
  /// A quorum queue of RabbitMQ 3.10 that was busy when its only node was killed may come back as a follower whose election
  /// timer is not set (seen with 3.10.8), and wait for a leader for ever: it is told to elect itself.
  package static func restart() throws {
    guard let program else { return }
    try succeed([program, "start"])
    try ctl(
      "eval",
      """
      [ra:trigger_election(amqqueue:get_pid(Q)) || Q <- rabbit_amqqueue:list(),
       amqqueue:get_type(Q) =:= rabbit_quorum_queue].
      """)
  }

  @discardableResult
  private static func succeed(_ command: [String]) throws -> String {
    let result = try run(command)
    guard result.status == 0 else { throw Failed(text: "\(command.joined(separator: " ")): \(result.output)") }
    return result.output
  }

  package struct Failed: Error, CustomStringConvertible {
    package var text: String
    package init(text: String) { self.text = text }
    package var description: String { text }
  }

  /// Runs a program of the checkout or of the system, with `input` on its standard input. Blocks: not for the
  /// cooperative pool when it may take long.
  @discardableResult
  package static func run(_ command: [String], input: Data? = nil) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.currentDirectoryURL = checkout
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.standardError
    let stdin = Pipe()
    process.standardInput = input == nil ? FileHandle.nullDevice : stdin
    try process.run()
    if let input {
      try stdin.fileHandleForWriting.write(contentsOf: input)
      try stdin.fileHandleForWriting.close()
    }
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }

  package static let checkout = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
}
