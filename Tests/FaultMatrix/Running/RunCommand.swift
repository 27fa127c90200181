import ArgumentParser
import BrokerFixture
import Foundation
import Logging
import Warren
import WarrenRabbitMQ
import WarrenSupport

/// Chooses cells and seeds, runs them, and writes a line for each.
struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Runs cells, and writes one JSON line for each run.",
    discussion: """
      The broker is that of RABBITMQ_URL; WARREN_TEST_BROKER is what breaks it. One run again: --cells FAULT:PHASE \
      --seed SEED --runs 1 --broker-runs 1.
      """)

  @Option(help: "FAULT[:PHASE] with * for all, several with commas; a - before one leaves it out.")
  var cells = "*"
  @Option(help: "Runs of each cell that needs no broker of its own.")
  var runs = 12
  @Option(help: "Runs of each cell that breaks the whole broker, or a cluster.")
  var brokerRuns = 3
  @Option(help: "No run begins after so many minutes; a quarter of them is for cells that break the whole broker.")
  var minutes: Double?
  @Option(help: "The seed of each cell's first run.")
  var seed: UInt64 = .random(in: 0...UInt64(UInt32.max))
  @Option(help: "How many runs go on at once, where they do not disturb each other.")
  var parallel = 4
  @Option(help: "A file that the lines are added to.")
  var output: String?
  @Flag(help: "Only list the cells.")
  var list = false

  private struct Job: Sendable {
    var cell: Cell
    var seed: UInt64
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
    let chosen = try chosenCells()
    if list {
      for cell in chosen { print(cell, cell.obstacle.map { "not applicable: \($0)" } ?? "") }
      return
    }
    print("fault-matrix --cells \(cells) --runs \(runs) --broker-runs \(brokerRuns) --seed \(seed)")
    let book = Book(output: output)
    let isPossible = chosen.filter { $0.obstacle == nil }
    let start = ContinuousClock.now
    func end(_ part: Double) -> ContinuousClock.Instant? { minutes.map { start + .seconds($0 * 60 * part) } }
    let (processes, broker, cluster) = (
      jobs(isPossible, .processes, runs), jobs(isPossible, .broker, brokerRuns), jobs(isPossible, .cluster, brokerRuns)
    )
    if !processes.isEmpty || !broker.isEmpty {
      let target = try Target.node()
      try await withRabbitMQ(target.configuration) { direct in
        book.set(broker: await version(target))
        await perform(processes, target, direct, book, parallel, until: end(broker.isEmpty ? 1 : 0.75))
        if TestBroker.canBreak {
          await perform(broker, target, direct, book, 1, until: end(1))
        } else if !broker.isEmpty {
          print("left out, since WARREN_TEST_BROKER is not set: \(Set(broker.map(\.cell.fault.rawValue)).sorted())")
        }
      }
    }
    if !cluster.isEmpty {
      if Target.clusterProgram != nil {
        let target = try Target.cluster()
        try await withRabbitMQ(target.configuration) { direct in
          book.set(broker: await version(target))
          await perform(cluster, target, direct, book, 1, until: end(1))
        }
      } else {
        print("left out, since WARREN_TEST_CLUSTER is not set: leaderKilled")
      }
    }
    if !book.summary() { throw ExitCode.failure }
  }

  private func chosenCells() throws -> [Cell] {
    var chosen: Set<Cell> = []
    for part in cells.split(separator: ",").map(String.init) {
      let isOut = part.hasPrefix("-")
      let found = Cell.matching(isOut ? String(part.dropFirst()) : part)
      if found.isEmpty {
        let names =
          "\(Fault.allCases.map(\.rawValue).joined(separator: " ")); phases: \(Phase.allCases.map(\.rawValue).joined(separator: " "))"
        throw ValidationError("no cell is called \(part). Faults: \(names)")
      }
      if isOut { chosen.subtract(found) } else { chosen.formUnion(found) }
    }
    return Cell.all.filter(chosen.contains)
  }

  /// All cells once, then all again: a run that is ended early has seen as many cells as it could.
  private func jobs(_ cells: [Cell], _ place: Fault.Place, _ count: Int) -> [Job] {
    var random = SplitMix(seed: seed)
    let cells = cells.filter { $0.fault.place == place }
    return (0..<max(0, count)).flatMap { round in
      cells.shuffled(using: &random).map { Job(cell: $0, seed: seed &+ UInt64(round)) }
    }
  }

  private func version(_ target: Target) async -> String {
    let text = try? await target.evaluate("io:format(\"~s\", [rabbit_misc:version()]).")
    return String((text ?? "").prefix { $0.isNumber || $0 == "." })
  }

  /// A session makes runs until one fails or it has made 40; on a cluster only one: RabbitMQ 3.10.8's members of a queue that
  /// have come back do not always elect a leader when the next one dies (its log says "await_condition … Re-entering follower
  /// state").
  private func perform(
    _ jobs: [Job], _ target: Target, _ direct: RabbitMQ, _ book: Book, _ width: Int,
    until end: ContinuousClock.Instant?
  ) async {
    let waiting = Lock(jobs[...])
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<max(1, min(width, jobs.count)) {
        group.addTask {
          var session: Session?
          while end.map({ .now < $0 }) ?? true, let job = waiting.withLock({ $0.popFirst() }) {
            var outcome = Outcome(fault: job.cell.fault, phase: job.cell.phase, seed: job.seed, problems: [])
            do {
              let current = try session ?? Session(target, direct: direct)
              session = current
              outcome = try await Trial(cell: job.cell, seed: job.seed, session: current).run()
            } catch {
              outcome.problems.append("\(error)")
            }
            if !outcome.problems.isEmpty { outcome.files = session?.folder }
            book.add(outcome)
            if !outcome.problems.isEmpty || (session?.runs ?? 0) >= (target.kind == .cluster ? 1 : 40) {
              await session?.end(keepingFiles: !outcome.problems.isEmpty)
              session = nil
            }
          }
          await session?.end(keepingFiles: false)
        }
      }
    }
  }
}

/// The lines of this program's runs.
final class Book: Sendable {
  private struct State {
    var broker = ""
    var outcomes: [Outcome] = []
  }
  private let state = Lock(State())
  private let output: String?

  init(output: String?) { self.output = output }

  func set(broker: String) { state.withLock { $0.broker = broker } }

  func add(_ outcome: Outcome) {
    var outcome = outcome
    state.withLock { state in
      outcome.broker = state.broker
      state.outcomes.append(outcome)
      let line = Data("\(outcome.line)\n".utf8)
      FileHandle.standardOutput.write(line)
      guard let output else { return }
      if !FileManager.default.fileExists(atPath: output) {
        _ = FileManager.default.createFile(atPath: output, contents: nil)
      }
      guard let file = FileHandle(forWritingAtPath: output) else { return }
      defer { try? file.close() }
      _ = try? file.seekToEnd()
      try? file.write(contentsOf: line)
    }
  }

  /// True when nothing was wrong.
  func summary() -> Bool {
    let outcomes = state.withLock { $0.outcomes }
    let failed = outcomes.filter { !$0.problems.isEmpty }
    print(
      "\(outcomes.count) runs of \(Set(outcomes.map(\.cell)).count) cells, \(outcomes.reduce(0) { $0 + $1.recorded + $1.confirmed }) events, \(failed.count) runs failed"
    )
    for outcome in failed {
      print("FAILED \(outcome.cell) --seed \(outcome.seed): \(outcome.problems.joined(separator: "; "))")
    }
    return failed.isEmpty && !outcomes.isEmpty
  }
}
