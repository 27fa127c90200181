import ArgumentParser
import Foundation
import Logging
import Warren
import WarrenRabbitMQ

struct TailCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tail",
    abstract: "Print events as JSON lines.",
    discussion: """
      Without --service: copies of what is published from now on, through a private queue. With --service: takes events out \
      of that service's queues, in place of one of its instances; an event is acknowledged when its line is written.
      """)

  @Argument(help: "The event types.")
  var types: [String]

  @Option(help: "End after so many events.")
  var count: Int?

  @Flag(help: "Print id, source, time, key and headers as well: {\"metadata\":…,\"event\":…}")
  var metadata = false

  @Option(help: "Consume this service's queues.")
  var service: String?

  @OptionGroup var broker: BrokerOptions

  func validate() throws {
    if types.isEmpty { throw ValidationError("Name at least one event type.") }
    if let count, count < 1 { throw ValidationError("--count is \(count): allowed is 1 or more") }
  }

  func run() async throws {
    try await reporting {
      var types: [EventType] = []
      for name in self.types { types.append(try EventType(name)) }
      let configuration = try broker.configuration(named: "tail")
      let printer = Printer(limit: count, withMetadata: metadata)
      return try await Interrupt.watching { interrupt in
        try await withRabbitMQ(configuration) { rabbit in
          if let service {
            try await consume(types, of: try ServiceName(service), configuration, printer, interrupt)
          } else {
            try await copy(types, rabbit, printer, interrupt)
          }
        }
        if let failure = printer.failure { throw failure }
        return .done
      }
    }
  }

  /// The queue goes with its connection: what is published while there is none is not seen, which is said.
  private func copy(_ types: [EventType], _ rabbit: RabbitMQ, _ printer: Printer, _ interrupt: Interrupt) async throws {
    let isRaised = Watched(false)
    let watching = Task {
      await interrupt.wait()
      isRaised.update { $0 = true }
    }
    defer { watching.cancel() }
    while !printer.isDone, !isRaised.value {
      let copies = try await PrivateCopies.open(of: types, on: rabbit) { delivery in
        try? await printer.print(delivery)
      }
      say("waiting for \(types.map(\.name).joined(separator: ", "))")
      try await untilFirst({ _ = await isRaised.wait { $0 } }, printer.waitUntilDone, copies.waitUntilEnded)
      let failure = copies.failure
      await copies.close()
      guard let failure, !printer.isDone, !isRaised.value else { return }
      say("warrenctl: \(failure.message). Connecting again; what is published until then is not printed")
      try await untilFirst(
        { _ = await isRaised.wait { $0 } },
        { try? await rabbit.waitUntilConnected(timeout: .seconds(86_400)) })
    }
  }

  private func consume(
    _ types: [EventType], of service: ServiceName, _ configuration: RabbitMQConfiguration, _ printer: Printer,
    _ interrupt: Interrupt
  ) async throws {
    var configuration = configuration
    // The service's queues are taken as they are; only what is missing is declared.
    if configuration.topology == .declare {
      try await withRabbitMQ(configuration) { rabbit in
        let owner = try QueueOwner(service: service)
        for type in types { try await rabbit.topology.ensureMissing(TopologyEntity.subscription(owner, type, .init())) }
      }
      configuration.topology = .assume
    }
    try await withRabbitMQ(configuration) { rabbit in
      var options = Subscriber.Options()
      options.concurrency = 1
      options.prefetch = min(200, count ?? 200)
      options.gracePeriod = .seconds(1)
      let subscriber = Subscriber(
        rabbit, service: service, options: options, logger: Logger(label: "warrenctl") { _ in SwiftLogNoOpLogHandler() }
      ) {
        OnRaw(types) { delivery, _ in try await printer.print(delivery) }
      }
      let running = Task { try await subscriber.run() }
      let ended = Watched(false)
      let watching = Task {
        _ = await running.result
        ended.update { $0 = true }
      }
      if (try? await subscriber.waitUntilReady()) != nil {
        say("consuming \(types.map(\.name).joined(separator: ", ")) of \(service)")
        try await untilFirst(interrupt.wait, printer.waitUntilDone, { _ = await ended.wait { $0 } })
      }
      let isOver = ended.value
      subscriber.stop()
      let result = await running.result
      _ = await watching.value
      if isOver, !printer.isDone { try result.get() }
    }
  }
}

/// Returns when one of them has.
func untilFirst(_ waits: (@Sendable () async -> Void)...) async throws {
  await withTaskGroup(of: Void.self) { group in
    for wait in waits { group.addTask { await wait() } }
    await group.next()
    group.cancelAll()
  }
}
