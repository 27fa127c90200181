import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

struct DeadShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Whole dead letters as JSON lines, the oldest first: {\"letter\":…,\"metadata\":…,\"event\":…}")

  @OptionGroup var dead: DeadOptions
  @OptionGroup var choice: Choice

  @Option(help: "The most lines per type.")
  var limit: Int?

  func run() async throws {
    try await reporting {
      let selection = try choice.deadLetters()
      return try await dead.forEachPlace { letters, place, interrupt in
        var missing = selection.ids ?? []
        var count = 0
        try await letters.forEach(of: place, selection) { letter in
          try emit(DeadLine.shown(letter))
          missing.remove(letter.id)
          count += 1
          return !interrupt.isRaised && count < limit ?? .max
        }
        for id in missing.sorted() where limit == nil { say("no dead letter of \(place) has the id \(id)") }
        return missing.isEmpty ? .done : .badData
      }
    }
  }
}
