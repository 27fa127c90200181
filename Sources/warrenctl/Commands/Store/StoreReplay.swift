import ArgumentParser
import Foundation
import Logging
import Warren
import WarrenRabbitMQ
import WarrenStore

struct StoreReplay: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Send events of the past once more, to one service only.",
    discussion: """
      They go straight into the service's queues, with their own ids and the header warren-replay. Handlers that are not made \
      with .replays(.handle) acknowledge them unhandled. Only published types are sent, unless --private says otherwise.

      Prints one JSON object. Exit code 69 when there is no broker, or the service has no queue for a type; 75 when the broker \
      went away in the middle: go on with --from and --id as the message says.
      """)

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Option(help: "The service.")
  var to: String

  @OptionGroup var events: EventOptions

  @Option(help: "The replay's id: to go on with one that was cut off. Default: a new one.")
  var id: String?

  @Flag(help: "Also events that are not published otherwise.")
  var `private` = false

  @Option(help: "The most events in a second.")
  var rate: Int?

  @Option(help: "Give up after so many seconds without the broker.")
  var wait = 30.0

  @OptionGroup var broker: BrokerOptions

  func run() async throws {
    try await reporting {
      let query = try events.query()
      let service = try ServiceName(to as String)
      let log = try Store.open(store)
      let configuration = try broker.configuration(named: "replay")
      let id = id ?? EventID().text
      return try await withRabbitMQ(configuration) { rabbit in
        var progress = Progress()
        do {
          let done = try await log.replay(
            query, as: id, to: try rabbit.queues(of: service), includesPrivate: `private`, patience: .seconds(wait),
            rate: rate
          ) { state in progress.show("\(grouped(state.events)) events sent") }
          progress.clear()
          try emitJSON(["replay": id, "service": service.name, "events": done.events, "last": done.last?.rawValue ?? 0])
          return .done
        } catch let error as ReplayError {
          progress.clear()
          say("warrenctl: \(error). Go on with --from \(error.position) --id \(id)")
          switch error.outcome {
          case .unroutable: return .unavailable
          case .refused: return .badData
          default: return .tryAgain
          }
        }
      }
    }
  }
}
