import ArgumentParser
import Foundation
import Logging
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Opens the log of a command.
enum Store {
  /// - Parameter mustExist: for operators, who would rather hear of a misspelt name than make a new file.
  static func open(
    _ path: String, source: ServiceName = "warrenctl", mustExist: Bool = true
  ) throws(StoreProblem) -> EventLog {
    if mustExist, !FileManager.default.fileExists(atPath: path) {
      throw StoreProblem(text: "there is no file \(path)", status: .inputOutput)
    }
    do throws(StoreError) {
      return try EventLog(
        path: path, source: source, logger: Logger(label: "warrenctl") { _ in SwiftLogNoOpLogHandler() })
    } catch {
      throw StoreProblem(text: error.message, status: ExitStatus(error))
    }
  }
}

struct StoreProblem: Error {
  var text: String
  var status: ExitStatus
}

extension ExitStatus {
  init(_ error: StoreError) {
    switch error.code {
    case .newerSchema, .unsafeSettings, .invalidConfiguration: self = .configuration
    case .invalidEvent: self = .badData
    case .busy, .timedOut, .cancelled: self = .tryAgain
    default: self = .inputOutput
    }
  }
}

/// A broker connection and a relay that run beside a command's own work. The broker may be away.
func withRelay<R>(
  _ log: EventLog, _ configuration: RabbitMQConfiguration, acceptUnroutable: Bool = false,
  _ body: (RelayWatch) async throws -> R
) async throws -> R {
  let rabbit = try RabbitMQ(configuration, logger: Logger(label: "warrenctl") { _ in SwiftLogNoOpLogHandler() })
  var options = Relay.Options()
  if acceptUnroutable { options.unroutable = .accept }
  let relay = log.relay(to: rabbit, options: options)
  let failure = Watched<(any Error)?>(nil)
  let connecting = Task {
    do { try await rabbit.run() } catch { failure.update { $0 = error } }
  }
  let relaying = Task {
    do { try await relay.run() } catch { failure.update { $0 = error } }
  }
  func end() async {
    relaying.cancel()
    await relaying.value
    connecting.cancel()
    await connecting.value
  }
  do {
    let result = try await body(RelayWatch(log: log, failure: failure))
    await end()
    return result
  } catch {
    await end()
    throw error
  }
}

/// Sees how far a relay has come, in this process or another.
struct RelayWatch {
  let log: EventLog
  let failure: Watched<(any Error)?>

  /// How things stand when `isDone` says so, when nothing has moved for `patience`, or when the command is interrupted.
  func wait(
    patience: Duration, _ interrupt: Interrupt, onProgress: (LogStatus) -> Void = { _ in },
    until isDone: (LogStatus) -> Bool
  ) async throws -> LogStatus {
    var last = try await log.status()
    var movedAt = ContinuousClock.now
    while true {
      let status = try await log.status()
      if isDone(status) || interrupt.isRaised { return status }
      if let failure = failure.value { throw failure }
      let heldCount = status.held.values.reduce(0, +)
      if status.checkpoint != last.checkpoint || heldCount != last.held.values.reduce(0, +) { movedAt = .now }
      if ContinuousClock.now - movedAt >= patience { return status }
      last = status
      onProgress(status)
      try? await Task.sleep(for: .milliseconds(20))
    }
  }
}

/// What is held, in words.
func heldText(_ held: [String: Int]) -> String {
  held.sorted { $0.key < $1.key }.map { "\(grouped($0.value)) \($0.key)" }.joined(separator: ", ")
}
