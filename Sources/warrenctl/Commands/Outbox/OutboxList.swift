import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct OutboxList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Held events as JSON lines, the oldest first.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Option(help: "The most lines.")
  var limit = 100

  @OptionGroup var held: HeldOptions

  func run() async throws {
    try await reporting {
      let selection = try held.selection(orAll: true)
      for event in try await Store.open(store).held(selection, limit: limit) { try emitJSON(fields(event)) }
      return .done
    }
  }
}

struct OutboxShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Held events with their bodies, as JSON lines.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @OptionGroup var held: HeldOptions

  func run() async throws {
    try await reporting {
      let selection = try held.selection()
      for event in try await Store.open(store).held(selection, limit: 1000) {
        var line = fields(event)
        if let body = event.event?.body {
          let value = try? JSONSerialization.jsonObject(with: body, options: .fragmentsAllowed)
          line["event"] = value ?? String(decoding: body, as: UTF8.self)
        }
        try emitJSON(line)
      }
      return .done
    }
  }
}

private func fields(_ held: HeldEvent) -> [String: Any] {
  var fields: [String: Any] = [
    "position": held.position.rawValue, "reason": held.reason, "cause": held.cause, "since": held.since.rfc3339,
  ]
  if !held.text.isEmpty { fields["text"] = held.text }
  fields["nextTry"] = held.nextTry?.rfc3339
  fields["type"] = held.event?.metadata.type.name
  fields["id"] = held.event?.metadata.id?.text
  fields["key"] = held.event?.metadata.key
  return fields
}
