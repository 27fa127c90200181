import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

struct PublishCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish",
    abstract: "Publish JSON lines as events, each confirmed by the broker.",
    discussion: """
      One event per line of standard input or of --file, sent as it arrives. A line that is not JSON is reported with its \
      number, the others go on.

      Exit code 0 only when every line is confirmed; 65 when there were bad lines; 69 when nobody is bound (see \
      --accept-unroutable) or the broker is unavailable; 75 when some events may succeed when they are sent again.

      With --store a line is safe once it is recorded. Exit code 0 when all are confirmed (with --no-relay: recorded), 75 when \
      some are held or still wait after --wait: they are delivered later, and must not be sent again.
      """)

  @Argument(help: "The event type, such as user.created.")
  var type: String

  @Option(help: "Read this file instead of standard input.", completion: .file())
  var file: String?

  @Option(help: "The service that the events come from.")
  var source = "warrenctl"

  @Option(help: "The field of the event whose value is its ordering key.")
  var key: String?

  @Flag(help: "Events that nobody is bound for count as published.")
  var acceptUnroutable = false

  @Flag(help: "End with a report as one JSON line on standard output.")
  var json = false

  @Option(
    help: "Record the events in this store; a relay, here or in another process, delivers them.", completion: .file())
  var store: String?

  @Flag(help: "With --store: only record.")
  var noRelay = false

  @Option(help: "With --store: give up waiting for confirms after so many seconds without progress.")
  var wait = 10.0

  @OptionGroup var broker: BrokerOptions

  func validate() throws {
    if noRelay, store == nil { throw ValidationError("--no-relay needs --store") }
  }

  func run() async throws {
    try await reporting {
      let type = try EventType(type)
      let source = try ServiceName(source)
      let configuration = try broker.configuration(named: "publish")
      let lines: Lines
      do {
        lines = try Lines(path: file, longest: configuration.publishing.maximumBodySize)
      } catch {
        say("warrenctl: \(error)")
        return .inputOutput
      }
      if let store { return try await publish(to: store, type, source, configuration, lines) }
      var tally = PublishTally()
      try await Interrupt.watching { interrupt in
        try await withRabbitMQ(configuration) { rabbit in
          var options = Publisher.Options()
          options.unroutable = acceptUnroutable ? .accept : .fail
          let publisher = Publisher(rabbit, source: source, options: options)
          try await publish(lines, type, publisher, rabbit, interrupt, &tally)
        }
      }
      tally.report(json: json)
      return tally.status
    }
  }

  private func publish(
    to store: String, _ type: EventType, _ source: ServiceName, _ configuration: RabbitMQConfiguration, _ lines: Lines
  ) async throws -> ExitStatus {
    let log = try Store.open(store, source: source, mustExist: false)
    let longest = configuration.publishing.maximumBodySize
    return try await Interrupt.watching { interrupt in
      var job = StorePublish(
        type: type, source: source, keyField: key, log: log, lines: lines, longest: longest)
      if noRelay {
        try await job.recordAll(interrupt)
        return job.report([:], isRelayed: false, json: json)
      }
      let held = try await withRelay(log, configuration, acceptUnroutable: acceptUnroutable) { watch in
        try await job.recordAll(interrupt)
        return try await job.waitForDelivery(watch, patience: .seconds(wait), interrupt)
      }
      return job.report(held, isRelayed: true, json: json)
    }
  }

  private func publish(
    _ lines: Lines, _ type: EventType, _ publisher: Publisher, _ rabbit: RabbitMQ, _ interrupt: Interrupt,
    _ tally: inout PublishTally
  ) async throws {
    let stream = publisher.stream()
    var numbers: [Int] = []
    var settled = 0
    var progress = Progress()
    func drain(_ outcomes: [PublishOutcome]) {
      for outcome in outcomes {
        tally.count(outcome, line: numbers[settled])
        settled += 1
      }
      if settled > 4096 {
        numbers.removeFirst(settled)
        settled = 0
      }
    }
    reading: while !interrupt.isRaised {
      // A signal must not wait for the next line of a terminal.
      let batch: [Lines.Line]?
      do {
        batch = try await firstOf(lines.next, interrupt.wait) ?? nil
      } catch {
        tally.inputFailed(error)
        break
      }
      guard let batch else { break }
      for line in batch {
        guard let text = line.text else {
          tally.bad(line.number, "is longer than \(rabbit.configuration.publishing.maximumBodySize) bytes")
          continue
        }
        switch EventLine.parse(text, keyField: key) {
        case .failure(let problem): tally.bad(line.number, problem.text)
        case .success(let event):
          numbers.append(line.number)
          await stream.add(event.encoded(type: type, source: source))
        }
      }
      await stream.flush()
      drain(await stream.drain())
      let rate = Int(Double(tally.confirmed) / progress.seconds)
      progress.show("\(grouped(tally.confirmed)) confirmed, \(grouped(rate)) events/s")
      if case .ended(let error?) = rabbit.publishing.status.value.phase {
        say("warrenctl: \(error.message)")
        break reading
      }
    }
    drain(await stream.finish())
    progress.clear()
  }
}

/// What `first` returns, or nil when `second` returns before.
func firstOf<R: Sendable>(
  _ first: @escaping @Sendable () async throws -> R, _ second: @escaping @Sendable () async -> Void
) async throws -> R? {
  let result = Watched<Result<R?, any Error>?>(nil)
  let a = Task {
    do {
      let value = try await first()
      result.update { $0 = $0 ?? .success(value) }
    } catch {
      result.update { $0 = $0 ?? .failure(error) }
    }
  }
  let b = Task {
    await second()
    result.update { $0 = $0 ?? .success(nil) }
  }
  defer {
    a.cancel()
    b.cancel()
  }
  return try await result.wait { $0 != nil }??.get() ?? nil
}
