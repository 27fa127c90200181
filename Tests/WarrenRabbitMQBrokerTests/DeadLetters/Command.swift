import BrokerFixture
import Foundation
import Warren
import WarrenSupport

@testable import WarrenRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A run of `warrenctl` on the tests' broker.
final class Command: Sendable {
  struct Ended: Sendable {
    /// The exit code, or the number of the signal.
    var status: Int32
    var output: String
    var errors: String
    var lines: [String] { output.split(separator: "\n").map(String.init) }
    /// Each line, as JSON.
    var objects: [[String: Any]] {
      lines.map { (try? JSONSerialization.jsonObject(with: Data($0.utf8))) as? [String: Any] ?? [:] }
    }
  }

  static let program = Bundle.main.executableURL?.deletingLastPathComponent().appending(path: "warrenctl").path ?? ""
  private let processID = Watched<Int32?>(nil)
  private let end = Watched<Ended?>(nil)

  init(_ arguments: [String], input: String = "", program: String = Command.program) {
    LoopbackServer.onThread { [processID, end] in
      let process = Process()
      process.executableURL = URL(filePath: program)
      process.arguments = arguments
      process.environment = ProcessInfo.processInfo.environment.merging(["RABBITMQ_URL": TestBroker.url]) { $1 }
      let (output, errors, stdin) = (Pipe(), Pipe(), Pipe())
      (process.standardOutput, process.standardError, process.standardInput) = (output, errors, stdin)
      do { try process.run() } catch {
        return end.update { $0 = Ended(status: -1, output: "", errors: "\(error)") }
      }
      processID.update { $0 = process.processIdentifier }
      try? stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
      try? stdin.fileHandleForWriting.close()
      let said = Lock("")
      let isRead = DispatchSemaphore(value: 0)
      LoopbackServer.onThread {
        let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        said.withLock { $0 = text }
        isRead.signal()
      }
      let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      isRead.wait()
      process.waitUntilExit()
      end.update { $0 = Ended(status: process.terminationStatus, output: text, errors: said.withLock { $0 }) }
    }
  }

  func ended() async -> Ended {
    await end.wait(timeout: .seconds(120)) { $0 != nil }.flatMap { $0 } ?? Ended(status: -2, output: "", errors: "")
  }
  var isOver: Bool { end.value != nil }

  /// Nothing when it is over already.
  func signal(_ number: Int32) async {
    guard let id = await processID.wait(timeout: .seconds(10), until: { $0 != nil }).flatMap({ $0 }), !isOver else {
      return
    }
    kill(id, number)
  }

  static func run(_ arguments: [String], input: String = "") async -> Ended {
    await Command(arguments, input: input).ended()
  }
}

extension TestService {
  /// `warrenctl dead VERB` on this service's letters of one type.
  func dead(_ verb: String, _ type: EventType, _ arguments: String..., input: String = "") async -> Command.Ended {
    await Command.run(["dead", verb, "--service", name.name, "--type", type.name] + arguments, input: input)
  }
}
