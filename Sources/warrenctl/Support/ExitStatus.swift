import ArgumentParser
import Warren
import WarrenRabbitMQ
import WarrenStore

/// How a command ends: the numbers of BSD's `sysexits.h`.
enum ExitStatus: Int32 {
  case done = 0
  case usage = 64
  case badData = 65
  case unavailable = 69
  case inputOutput = 74
  case tryAgain = 75
  case configuration = 78

  var exitCode: ExitCode { ExitCode(rawValue) }

  init(_ error: RabbitMQError) {
    switch error.code {
    case .invalidURL, .invalidConfiguration, .loginRefused, .vhostRefused, .accessRefused, .topologyMismatch, .notFound:
      self = .configuration
    case .timedOut, .cancelled: self = .tryAgain
    default: self = .unavailable
    }
  }
}

/// Runs a command's body; an error that Warren explains becomes one line and an exit code.
func reporting(_ body: () async throws -> ExitStatus) async throws {
  let status: ExitStatus
  do {
    status = try await body()
  } catch let error as RabbitMQError {
    say("warrenctl: \(error.message)")
    status = ExitStatus(error)
  } catch let error as WarrenError {
    say("warrenctl: \(error.message)")
    status = .usage
  } catch let error as StoreError {
    say("warrenctl: \(error.message)")
    status = ExitStatus(error)
  } catch let error as StoreProblem {
    say("warrenctl: \(error.text)")
    status = error.status
  } catch let error as RecordFile.Failed {
    say("warrenctl: \(error)")
    status = .inputOutput
  } catch let error as OutputFailed {
    // A reader that has seen enough, such as `head`, is no failure worth words.
    if !error.isClosedPipe { say("warrenctl: \(error)") }
    status = .inputOutput
  }
  if status != .done { throw status.exitCode }
}
