import ArgumentParser
import Foundation
import Logging
import Warren
import WarrenRabbitMQ
import WarrenStore

struct WorkCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "work",
    abstract: "Handle events with a command: a worker in any language.",
    discussion: """
      Runs COMMAND for each event of the service's queues: the event's JSON on standard input, its metadata in WARREN_ID, \
      WARREN_TYPE, WARREN_SOURCE, WARREN_TIME, WARREN_KEY, WARREN_SUBJECT, WARREN_CORRELATION_ID, WARREN_CAUSATION_ID, \
      WARREN_ROUTING_KEY, WARREN_ATTEMPT, WARREN_REDELIVERED, WARREN_QUEUE, TRACEPARENT and WARREN_HEADERS (a JSON object).

      COMMAND ends with 0: the event is done. 75: it is tried again later. 65: it goes to the dead letters. Anything else, and a \
      signal: it is tried again as --retry says, and then goes to the dead letters. The last line that COMMAND writes to \
      standard error is the reason that is kept with the event.

      SIGINT and SIGTERM let commands that run end, for --grace; a second signal ends at once. What was not finished is \
      delivered again. With --store an event that was handled is not handled again, and events wait there until they are tried \
      again: use one file for one service.
      """)

  @Argument(
    help: ArgumentHelp("The event types; after --, the command and its arguments.", valueName: "type ... -- command"))
  var words: [String]

  @Option(help: "The service whose queues are read. Workers with the same name share the events.")
  var service: String

  @Option(help: "The most commands at once, for each event type.")
  var concurrency = 4

  @Option(
    help: "How long one command may take, such as 30s or 5m, up to 25m. Then it gets SIGTERM, and SIGKILL after 3 s.")
  var timeout = Span(.seconds(30))

  @Option(
    help: "The waits before an event is tried again, such as 5s,30s,2m. 'none' sends it to the dead letters at once.")
  var retry = Waits([.seconds(5), .seconds(30), .seconds(120), .seconds(600)])

  @Flag(help: "Events with the same key one after the other, in order. The types share one queue.")
  var ordered = false

  @Option(help: "How long commands that run may go on when the worker stops.")
  var grace = Span(.seconds(30))

  @Option(help: "A file in which it is remembered what was handled.", completion: .file())
  var store: String?

  @OptionGroup var broker: BrokerOptions

  // The parser knows one list of words only; behind the terminator all of them are as they are.
  private var command: ArraySlice<String> {
    CommandLine.arguments.firstIndex(of: "--").map { CommandLine.arguments[($0 + 1)...] } ?? []
  }
  private var types: ArraySlice<String> { words.dropLast(command.count) }

  func validate() throws {
    if types.isEmpty { throw ValidationError("Name at least one event type.") }
    if command.isEmpty { throw ValidationError("Name the command behind --, such as: -- python3 handle.py") }
    if !(1...1000).contains(concurrency) {
      throw ValidationError("--concurrency is \(concurrency): allowed is 1 to 1000")
    }
    if timeout.duration > .seconds(1500) || timeout.duration < .milliseconds(1) {
      throw ValidationError("--timeout is \(timeout): allowed is 1ms to 25m")
    }
    if grace.duration > .seconds(1800) { throw ValidationError("--grace is \(grace): allowed is 0s to 30m") }
  }

  func run() async throws {
    try await reporting {
      var types: [EventType] = []
      for name in self.types { types.append(try EventType(name)) }
      let service = try ServiceName(service)
      let configuration = try broker.configuration(named: "work")
      guard let name = command.first, let program = Program.find(name) else {
        throw StoreProblem(text: "there is no program \(command.first ?? "") that can be run", status: .usage)
      }
      let job = Job(program: program, arguments: Array(command.dropFirst()))
      let log = try store.map { try Store.open($0, source: service, mustExist: false) }
      return try await Interrupt.watching { interrupt in
        try await withRabbitMQ(configuration) { rabbit in
          try await work(types, service, job, log, rabbit, interrupt)
        }
      }
    }
  }

  private func work(
    _ types: [EventType], _ service: ServiceName, _ job: Job, _ log: EventLog?, _ rabbit: RabbitMQ,
    _ interrupt: Interrupt
  ) async throws -> ExitStatus {
    var options = Subscriber.Options()
    options.concurrency = concurrency
    options.prefetch = max(2 * concurrency, 10)
    options.gracePeriod = grace.duration
    options.handlerTimeout = timeout.duration
    options.retry = RetryPolicy(delays: retry.waits)
    var queue = QueueOptions()
    // There is no order across queues.
    if ordered, types.count > 1 { queue.group = "work" }
    let plain: any DeliveryHandler =
      if let log {
        log.inbox.onRaw(types, queue: queue) { delivery, context in
          try await job.run(delivery, retry: { context.retry(reason: $0) }, deadLetter: { context.deadLetter($0) })
        }
      } else {
        OnRaw(types, queue: queue) { delivery, context in
          try await job.run(delivery, retry: { context.retry(reason: $0) }, deadLetter: { context.deadLetter($0) })
        }
      }
    let handler: any DeliveryHandler = ordered ? plain.inOrder() : plain
    let subscriber = Subscriber(
      rabbit, service: service, options: options,
      logger: Logger(label: "warrenctl") { _ in SwiftLogNoOpLogHandler() }
    ) { [handler] }
    let running = Task { try await subscriber.run() }
    let ended = Watched(false)
    let watching = Task {
      _ = await running.result
      ended.update { $0 = true }
    }
    if (try? await subscriber.waitUntilReady()) != nil {
      say("\(service) works on \(types.map(\.name).joined(separator: ", "))")
    } else if !ended.value, let reason = rabbit.health.reasons.first {
      say("warrenctl: not ready yet: \(reason)")
    }
    try await untilFirst(interrupt.wait, { _ = await ended.wait { $0 } })
    if interrupt.isRaised { say("stopping: waiting for commands that run") }
    subscriber.stop()
    try await running.value
    await watching.value
    return .done
  }
}

extension DeliveryHandler {
  fileprivate func inOrder() -> any DeliveryHandler { orderedByKey() }
}
