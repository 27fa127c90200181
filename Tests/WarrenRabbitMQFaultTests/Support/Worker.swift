import BrokerFixture
import Foundation
import WarrenRabbitMQ

/// `FaultWorker` in a process of its own.
final class Worker: Sendable {
  let isReady = Watched(false)
  private let ended = Watched<Int32?>(nil)
  let processID: Int32

  init(service: String, file: String, culprit: Int? = nil, environment: [String: String] = [:]) throws {
    let process = Process()
    process.executableURL = Self.program
    process.arguments = [service, file] + (culprit.map { ["\($0)"] } ?? [])
    process.environment = ProcessInfo.processInfo.environment.merging([
      "RABBITMQ_URL": TestBroker.url,
      // Ended by itself is what it is for.
      "SWIFT_BACKTRACE": "enable=no",
    ]) { $1 }.merging(environment) { $1 }
    let output = Pipe()
    process.standardOutput = output
    process.terminationHandler = { [ended] process in
      ended.update { $0 = process.terminationStatus }
    }
    output.whenReadable { [isReady] data in
      if !data.isEmpty { isReady.update { $0 = true } }
    }
    try process.run()
    processID = process.processIdentifier
  }

  /// Its exit status or the signal that ended it; nil when it goes on.
  func end(within timeout: Duration) async -> Int32? { await ended.wait(timeout: timeout) { $0 != nil } ?? nil }

  /// Beside the test program.
  private static var program: URL {
    let tests = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
    return tests.appendingPathComponent("FaultWorker")
  }
}
