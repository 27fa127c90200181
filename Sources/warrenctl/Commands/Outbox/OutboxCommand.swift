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
  @Flag(help: "All that are held.")
  var all = false

  @Option(parsing: .upToNextOption, help: "These positions.")
  var id: [Int64] = []

  @Option(help: "Those with this cause: unroutable, congested, exchange or refused.")
  var cause: String?

  @Option(help: "Those of this event type.")
  var type: String?

  func selection(orAll: Bool = false) throws -> EventLog.HeldSelection {
    let given = [all, !id.isEmpty, cause != nil, type != nil].count { $0 }
    guard given <= 1 else { throw ValidationError("Use only one of --all, --id, --cause and --type.") }
    if !id.isEmpty { return .positions(id.map { LogPosition(rawValue: $0) }) }
    if let cause { return .cause(cause) }
    if let type { return .type(try EventType(type)) }
    guard all || orAll else { throw ValidationError("Say which: --all, --id, --cause or --type.") }
    return .all
  }
}

/// JSON objects as lines.
func emitJSON(_ fields: [String: Any]) throws(OutputFailed) {
  let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
  try emit((try? JSONSerialization.data(withJSONObject: fields, options: options)) ?? Data("{}".utf8))
}
