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

  /// The same broker without TLS, for clients that know no TLS and for what reads along: `WARREN_TEST_PLAIN_URL` where
  /// the tests run over TLS.
  package static var plainURL: String {
    let plain = ProcessInfo.processInfo.environment["WARREN_TEST_PLAIN_URL"]
    return plain.flatMap { $0.isEmpty ? nil : $0 } ?? url
  }

  package static var plainConfiguration: RabbitMQConfiguration {
    get throws { try RabbitMQConfiguration(url: plainURL) }
  }

  /// True when the tests may break the broker: they know its process and have its command line tool.
  package static var canBreak: Bool {
    let environment = ProcessInfo.processInfo.environment
    return environment["WARREN_TEST_BROKERCTL"] != nil && environment["WARREN_TEST_BROKER_PID"] != nil
  }

  /// `rabbitmqctl` on this broker.
  @discardableResult
  package static func ctl(_ arguments: String...) throws -> String {
    let environment = ProcessInfo.processInfo.environment
    let command = environment["WARREN_TEST_BROKERCTL"].map { $0.split(separator: " ").map(String.init) }
    let result = try run((command ?? ["scripts/broker", "ctl"]) + arguments)
    guard result.status == 0 else { throw Failed(text: "rabbitmqctl \(arguments): \(result.output)") }
    return result.output
  }

  package static var processID: Int32? {
    ProcessInfo.processInfo.environment["WARREN_TEST_BROKER_PID"].flatMap { Int32($0) }
  }

  package struct Failed: Error, CustomStringConvertible {
    package var text: String
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
