import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

struct DeadCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dead",
    abstract: "Look at what a service could not handle, and bring it back.",
    discussion: """
      Dead letters wait in the queues <service>.dead.<type>. AMQP cannot list queues, so the types are named with --type, \
      and queues for several types, <service>.dead.group.<group>, with --group. \
      Looking takes nothing out. What is moved is confirmed at its new place before it is taken out of its old one: when the \
      command is killed in between, it is in both.
      """,
    subcommands: [DeadList.self, DeadShow.self, DeadEdit.self, DeadReplay.self, DeadDiscard.self])
}

/// Whose dead letters.
struct DeadOptions: ParsableArguments {
  @Option(help: "The service.")
  var service: String

  @Option(help: "A named subscription of the service, in place of its own queues.")
  var subscription: String?

  @Option(parsing: .upToNextOption, help: "The event types.")
  var type: [String] = []

  @Option(parsing: .upToNextOption, help: "Groups: queues for several types.")
  var group: [String] = []

  @Flag(help: "Reports as JSON lines on standard output.")
  var json = false

  @OptionGroup var broker: BrokerOptions

  func validate() throws {
    if type.isEmpty, group.isEmpty {
      throw ValidationError("Name the event types with --type, or groups with --group: AMQP cannot list queues.")
    }
  }

  /// Runs `body` for one type or group after the other. The worst status counts.
  func forEachPlace(
    _ body: (DeadLetters, DeadLetters.Place, Interrupt) async throws -> ExitStatus
  ) async throws -> ExitStatus {
    let places = try type.map { name in DeadLetters.Place.type(try EventType(name)) } + group.map { .group($0) }
    let service = try ServiceName(service)
    var configuration = try broker.configuration(named: "dead")
    // The queues are taken as they are.
    configuration.topology = .assume
    return try await Interrupt.watching { interrupt in
      try await withRabbitMQ(configuration) { rabbit in
        let dead = try DeadLetters(rabbit, service: service, subscription: subscription)
        var status = ExitStatus.done
        for place in places where !interrupt.isRaised {
          let readers = try await dead.readers(of: place)
          if readers > 0 {
            say("\(readers) others read the dead letters of \(place) just now: what they hold is not seen here")
          }
          let ended = try await body(dead, place, interrupt)
          if status == .done || ended == .unavailable { status = ended }
        }
        return status
      }
    }
  }
}

extension Choice {
  func deadLetters(orAll: Bool = false) throws -> DeadLetters.Selection {
    switch try chosen(orAll: orAll) {
    case .ids(let ids): .ids(ids)
    case .cause(let cause): .cause(cause)
    case .all, nil: .all
    }
  }
}
