import Foundation
import Warren
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Runs the user's command for one event.
struct Job: Sendable {
  let program: URL
  let arguments: [String]

  struct Failed: Error, CustomStringConvertible {
    var description: String
  }

  /// - Throws: ``Failed`` when the command ends with another status than those that mean something, and `CancellationError`
  ///   when it was cancelled, which ends the command.
  func run(
    _ delivery: Delivery, retry: (String) -> Void, deadLetter: (String) -> Void
  ) async throws {
    let (status, lastLine) = try await run(delivery)
    try Task.checkCancellation()
    let reason = lastLine.isEmpty ? "" : ": \(lastLine)"
    switch status {
    case .exit(0): return
    case .exit(ExitStatus.tryAgain.rawValue): retry("the command asks for another try\(reason)")
    case .exit(ExitStatus.badData.rawValue): deadLetter(lastLine.isEmpty ? "the command refuses it" : lastLine)
    case .exit(let code): throw Failed(description: "exit code \(code)\(reason)")
    case .signal(let number): throw Failed(description: "ended by signal \(number)\(reason)")
    }
  }

  private func run(_ delivery: Delivery) async throws -> (ChildProcess.End, lastLine: String) {
    let input = try input(delivery.body)
    let errors = ErrorLines()
    let process: ChildProcess
    do throws(ChildProcess.Failed) {
      process = try ChildProcess(
        program.path, arguments, environment: EventEnvironment.variables(of: delivery), input: input.fileDescriptor,
        errors: errors.pipe.fileHandleForWriting.fileDescriptor)
    } catch {
      throw Failed(description: "\(program.path) cannot be run: \(error)")
    }
    // The command has its own, and the pipe's end would never come. Not before: a handle that nobody needs any more closes.
    try? input.close()
    try? errors.pipe.fileHandleForWriting.close()
    let ending = Ending(process.id)
    let end = await withTaskCancellationHandler {
      // A task of its own: a cancelled one would not wait for the end.
      await Task { await process.end() }.value
    } onCancel: {
      ending.begin()
    }
    ending.isOver()
    return (end ?? .signal(SIGKILL), await errors.lastLine())
  }

  /// A file, so that a command that does not read, or reads slowly, holds up nobody.
  private func input(_ body: Data) throws -> FileHandle {
    let descriptor = ChildProcess.marked({ [$0] }) { () -> Int32 in
      guard let file = tmpfile() else { return -1 }
      defer { fclose(file) }
      return dup(fileno(file))
    }
    guard descriptor >= 0 else { throw Failed(description: "no temporary file for the event's body") }
    let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    try handle.write(contentsOf: body)
    try handle.seek(toOffset: 0)
    return handle
  }
}

/// SIGTERM to a command and to what it has started, and SIGKILL 3 s later.
private final class Ending: Sendable {
  private let processID: Int32
  private let over = Lock(false)

  init(_ processID: Int32) { self.processID = processID }

  func begin() {
    signal(SIGTERM)
    Task {
      try? await Task.sleep(for: .seconds(3))
      signal(SIGKILL)
    }
  }

  func isOver() { over.withLock { $0 = true } }

  private func signal(_ number: Int32) {
    over.withLock { isOver in
      // Its number may belong to somebody else by now.
      guard !isOver else { return }
      if getpgid(processID) == processID { kill(-processID, number) } else { kill(processID, number) }
    }
  }
}

/// Passes on what a command writes to standard error and keeps its last line.
private final class ErrorLines: Sendable {
  let pipe = ChildProcess.marked({ (pipe: Pipe) in
    [pipe.fileHandleForReading.fileDescriptor, pipe.fileHandleForWriting.fileDescriptor]
  }) { Pipe() }
  private let state = Lock<(tail: [UInt8], isOver: Bool)>(([], false))

  init() {
    pipe.whenReadable { [state] data in
      guard !data.isEmpty else {
        state.withLock { $0.isOver = true }
        return
      }
      try? FileHandle.standardError.write(contentsOf: data)
      state.withLock { state in
        state.tail = Array((state.tail + data).suffix(4096))
      }
    }
  }

  /// Its last line that says something. What a child of the command still writes is not waited for.
  func lastLine() async -> String {
    for _ in 0..<50 where !state.withLock({ $0.isOver }) { try? await Task.sleep(for: .milliseconds(2)) }
    let text = String(decoding: state.withLock { $0.tail }, as: UTF8.self)
    let line = text.split(whereSeparator: \.isNewline).last { $0.contains { !$0.isWhitespace } }
    return String(line ?? "").shown(400)
  }
}
