#if DEBUG
  import ArgumentParser
  import Foundation

  #if canImport(Glibc)
    import Glibc
  #elseif canImport(Musl)
    import Musl
  #else
    import Darwin
  #endif

  /// Starts workers one after the other until all inputs are done, and reports what has ended them.
  struct Supervise: AsyncParsableCommand {
    @Option(help: "How many inputs.")
    var inputs = 100_000

    @Option(help: "End after so many seconds, whatever is done by then.")
    var seconds: Int?

    @Option(help: "Repeats an earlier run.")
    var seed: UInt64 = .random(in: 0...UInt64(UInt32.max))

    @Option(help: "Only this reader: \(Reader.names.joined(separator: ", "))")
    var reader: String?

    /// A worker that is at one input for so long hangs.
    private static let patience = Duration.seconds(20)
    private static let mostFailures = 20

    func run() async throws {
      print("fuzz: --inputs \(inputs) --seed \(seed)")
      let start = ContinuousClock.now
      let path = NSTemporaryDirectory() + "warren-fuzz-\(getpid())"
      defer { unlink(path) }
      let board = try Board(path: path, creates: true)
      var next = 0
      var failures = 0
      while next < inputs, failures < Self.mostFailures {
        let left = seconds.map { Duration.seconds($0) - (.now - start) }
        if let left, left <= .zero { break }
        let worker = Process()
        worker.executableURL = Bundle.main.executableURL
        worker.arguments =
          ["work", "--from", "\(next)", "--to", "\(inputs)", "--seed", "\(seed)", "--board", path]
          + (reader.map { ["--reader", $0] } ?? [])
        // What a crash would print about itself costs more than the run.
        worker.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        board.begin()
        try worker.run()
        let end = try await watch(worker, board, until: left.map { .now + $0 })
        next = board.index
        switch end {
        case .done where worker.terminationStatus == 0: next = inputs
        case .late: print("the time is over at input \(next)")
        case .done, .hung:
          failures += 1
          let how =
            end == .hung
            ? "hangs" : worker.terminationReason == .uncaughtSignal ? "signal \(worker.terminationStatus)" : "fails"
          print(
            "FAILED: \(how): input \(next) of \(board.reader): fuzz replay --reader \(board.reader) \(board.input.hex)")
          next += 1
        }
        if end == .late { break }
      }
      let rate = Double(next) / max(0.001, (ContinuousClock.now - start) / .seconds(1))
      print("\(next) inputs, \(failures) failures, \(Int(rate)) inputs/s")
      if failures > 0 { throw ExitCode.failure }
    }

    private enum End { case done, hung, late }

    private func watch(_ worker: Process, _ board: Board, until deadline: ContinuousClock.Instant?) async throws -> End
    {
      var seen = -1
      var movedAt = ContinuousClock.now
      while worker.isRunning {
        try await Task.sleep(for: .milliseconds(50))
        if board.index != seen { (seen, movedAt) = (board.index, .now) }
        let isLate = deadline.map { ContinuousClock.now > $0 } ?? false
        guard isLate || ContinuousClock.now - movedAt > Self.patience else { continue }
        kill(worker.processIdentifier, SIGKILL)
        worker.waitUntilExit()
        return isLate ? .late : .hung
      }
      return .done
    }
  }

  extension Sequence where Element == UInt8 {
    var hex: String { map { String(0x100 + Int($0), radix: 16).dropFirst() }.joined() }
  }
#endif
