import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct OutboxCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outbox",
    abstract: "Look at what a store has not delivered yet, and decide about what is held.",
    subcommands: [OutboxStatus.self, OutboxList.self, OutboxShow.self, OutboxRetry.self, OutboxDiscard.self])
}

/// Which held events a command is about.
struct HeldOptions: ParsableArguments {
  @OptionGroup var choice: Choice

  @Option(help: "Those of this event type.")
  var type: String?

  func selection(orAll: Bool = false) throws -> EventLog.HeldSelection {
    switch try choice.chosen(orAll: orAll, others: ["--type": type != nil]) {
    case .ids(let ids):
      return .positions(
        try ids.map { id in
          guard let position = Int64(id) else { throw ValidationError("--id \(id): ids here are positions, numbers") }
          return LogPosition(rawValue: position)
        })
    case .cause(let cause): return .cause(cause)
    case .all: return .all
    case nil: return .type(try EventType(type ?? ""))
    }
  }
}
