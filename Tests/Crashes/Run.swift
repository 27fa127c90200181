import ArgumentParser
import Foundation
import GRDB
import Warren
import WarrenRabbitMQ
import WarrenStore
import WarrenSupport

/// Starts the two, kills them, starts them again, and counts.
struct Run: AsyncParsableCommand {
  @Option(help: "How many processes to kill.")
  var kills = 20

  @Option(help: "Repeats the choices of an earlier run.")
  var seed: UInt64 = .random(in: 0...UInt64(UInt32.max))

  @Flag(help: "Read from a classic queue, which counts no deliveries.")
  var classic = false

  @Flag(help: "Keep the files.")
  var keep = false

  func run() async throws {
    print("crashes: --kills \(kills) --seed \(seed)")
    setenv("WARREN_CRASH_RUN", "\(seed)-\(getpid())", 1)
    let folder = NSTemporaryDirectory() + "warren-crashes-\(seed)-\(getpid())"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    var random = SplitMix(seed: seed)
    var writer = Victim(
      name: "writer", arguments: ["--store", "\(folder)/writer.sqlite", "--ledger", "\(folder)/ledger"],
      places: [
        .beforeCommit, .afterCommit, .beforePublish, .inSocketWrite, .afterSocketWrite, .beforeConfirm, .afterPublish,
        .beforeCheckpoint, .afterCheckpoint,
      ], &random)
    var reader = Victim(
      name: "reader", arguments: ["--store", "\(folder)/reader.sqlite"] + (classic ? ["--classic"] : []),
      places: [
        .inHandler, .beforeHandlerCommit, .beforeCommit, .afterCommit, .afterHandlerCommit, .beforeAck, .afterAck,
      ], &random)
    var counts: [String: Int] = [:]
    var failure: (any Error)?
    do {
      try await reader.start(&random, armed: false)
      try await writer.start(&random, armed: true)
      for kill in 0..<kills {
        let isWriter = kill % 2 == 0
        let how = isWriter ? try await writer.die(&random) : try await reader.die(&random)
        counts[how, default: 0] += 1
        let isLast = kill >= kills - 2
        if isWriter {
          try await writer.start(&random, armed: !isLast)
        } else {
          try await reader.start(&random, armed: !isLast)
        }
      }
      try await writer.end()
      try await settle(folder)
    } catch {
      failure = error
    }
    writer.kill()
    reader.kill()
    try? await removeQueues()
    for (how, count) in counts.sorted(by: { $0.key < $1.key }) { print("  killed \(count) times: \(how)") }
    if let failure {
      print("FAILED: \(failure). Files are in \(folder); repeat with --seed \(seed)")
      throw ExitCode.failure
    }
    let verdict = try Verdict(
      ledger: "\(folder)/ledger", writer: "\(folder)/writer.sqlite", reader: "\(folder)/reader.sqlite")
    print(verdict.text)
    let missed = [writer, reader].flatMap { victim in victim.missed.map { "\(victim.name) at \($0.rawValue)" } }
    // With so many kills each place has its turn several times.
    if kills >= 150, !missed.isEmpty {
      print("FAILED: nobody was killed there: \(missed.joined(separator: ", "))")
      throw ExitCode.failure
    }
    if verdict.problems.isEmpty {
      if !keep { try? FileManager.default.removeItem(atPath: folder) }
    } else {
      print("FAILED. Files are in \(folder); repeat with --seed \(seed)")
      throw ExitCode.failure
    }
  }

  /// Until the reader has handled all that the writer's store says was committed.
  private func settle(_ folder: String) async throws {
    let (done, effects) = (
      try DatabaseQueue(path: "\(folder)/writer.sqlite"), try DatabaseQueue(path: "\(folder)/reader.sqlite")
    )
    let expected = try await done.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM done") ?? 0 }
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
      let found = try await effects.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM effect") ?? 0 }
      if found >= expected { return }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  private func removeQueues() async throws {
    try await withRabbitMQ(RabbitMQConfiguration(url: Shared.url)) { rabbit in
      let owner = try QueueOwner(service: Shared.service)
      let type = CrashEvent.eventType
      _ = try? await rabbit.topology.perform(.deleteQueue(EntityNames.workQueue(of: owner, type: type)))
      _ = try? await rabbit.topology.perform(.deleteQueue(EntityNames.deadLetterQueue(of: owner, type: type)))
      _ = try? await rabbit.topology.perform(.deleteExchange(EntityNames.exchange(of: type)))
    }
  }
}
