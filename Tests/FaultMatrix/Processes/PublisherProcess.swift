import ArgumentParser
import Foundation
import GRDB
import Logging
import ServiceLifecycle
import UnixSignals
import Warren
import WarrenRabbitMQ
import WarrenStore

/// Records and publishes when it is told to. Ends on SIGTERM as a service does.
struct PublisherProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "publisher", shouldDisplay: false)
  @Option var store: String
  @Option var ledger: String
  /// Which process of its session it is.
  @Option var life: Int

  func run() async throws {
    LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
    FullDisk.stands(for: store)
    var options = EventLog.Options()
    options.busyTimeout = .milliseconds(500)
    let log = try EventLog(path: store, source: "matrix-publisher", options: options)
    let rabbit = try RabbitMQ(Settings.configuration())
    let load = Load(log: log, rabbit: rabbit, book: Ledger(path: ledger), life: life)
    try await ServiceGroup(
      services: [rabbit, log.relay(to: rabbit), load], gracefulShutdownSignals: [.sigterm],
      logger: Logger(label: "publisher")
    ).run()
  }

  private struct Load: Service {
    let log: EventLog
    let rabbit: RabbitMQ
    let book: Ledger
    let life: Int

    func run() async throws {
      await cancelWhenGracefulShutdown {
        let isLoading = Watched(false)
        await withTaskGroup(of: Void.self) { group in
          try? await rabbit.waitUntilConnected(timeout: .seconds(60))
          Shared.say("ready")
          for await words in Shared.commands() { await obey(words, isLoading, &group) }
          isLoading.update { $0 = false }
          group.cancelAll()
        }
      }
    }

    private func obey(_ words: [String], _ isLoading: Watched<Bool>, _ group: inout TaskGroup<Void>) async {
      switch words.first {
      case "load":
        guard words.count == 2, let run = Int(words[1]) else { return }
        defer { Shared.say("loading") }
        let wasLoading = isLoading.update { isLoading in
          defer { isLoading = true }
          return isLoading
        }
        if wasLoading { return }
        let publisher = Publisher(rabbit, source: "matrix-publisher")
        for key in 0..<Shared.storedKeys {
          group.addTask { await lane(run, key, isLoading) { try await record($0) } }
        }
        // Of this process only: what a killed one has written may reach the broker after what the next one writes.
        for key in 0..<Shared.directKeys {
          let key = Shared.storedKeys + life * Shared.directKeys + key
          group.addTask { await lane(run, key, isLoading) { try await publish($0, publisher) } }
        }
      case "stop":
        isLoading.update { $0 = false }
        await group.waitForAll()
        Shared.say("stopped")
      case "backlog":
        do {
          let status = try await log.status()
          Shared.say("backlog \(status.backlogRows + status.held.values.reduce(0, +))")
        } catch {
          Shared.say("backlog unknown")
        }
      case "full": FullDisk.set(true)
      case "roomy": FullDisk.set(false)
      default: break
      }
    }

    /// One event after the other, each awaited.
    private func lane(
      _ run: Int, _ key: Int, _ isLoading: Watched<Bool>, _ body: @escaping (Tick) async throws -> Ledger.Word
    ) async {
      var number = life * 1_000_000
      while isLoading.value, !Task.isCancelled {
        number += 1
        let tick = Tick(run: run, key: key, number: number, at: Shared.now)
        book.note(.tried, tick)
        do {
          book.note(try await body(tick), tick)
        } catch let error as StoreError {
          book.note(error.mayHaveBeenRecorded ? .unknown : .refused, tick)
        } catch let error as PublishError {
          book.note(error.mayHaveBeenPublished ? .unknown : .refused, tick)
        } catch let error as DatabaseError where [.SQLITE_FULL, .SQLITE_BUSY].contains(error.resultCode) {
          // The transaction had not come to its commit.
          book.note(.refused, tick)
        } catch {
          book.note(.unknown, tick)
        }
        try? await Task.sleep(for: .microseconds(Int.random(in: 40_000...160_000)))
      }
    }

    private func record(_ tick: Tick) async throws -> Ledger.Word {
      try await log.transact { db in
        _ = try log.record(tick, options: PublishOptions(key: "\(tick.key)"), in: db)
      }
      return .recorded
    }

    private func publish(_ tick: Tick, _ publisher: Publisher) async throws -> Ledger.Word {
      _ = try await publisher.publish(tick, options: PublishOptions(key: "\(tick.key)"))
      return .confirmed
    }
  }
}

/// How the processes reach the broker.
enum Settings {
  static func configuration() throws -> RabbitMQConfiguration {
    let url = ProcessInfo.processInfo.environment["WARREN_MATRIX_URL"] ?? "amqp://guest:guest@localhost"
    var configuration = try RabbitMQConfiguration(url: url)
    configuration.heartbeat = .seconds(2)
    configuration.connectTimeout = .seconds(2)
    configuration.requestTimeout = .seconds(5)
    configuration.publishing.timeout = .seconds(30)
    return configuration
  }
}
