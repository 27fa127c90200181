import ArgumentParser
import Warren
import WarrenStore

struct OutboxRetry: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry", abstract: "Let held events be tried again at once, refused ones too.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @OptionGroup var held: HeldOptions

  func run() async throws {
    try await reporting {
      let selection = try held.selection()
      let count = try await Store.open(store).retry(selection)
      say("\(grouped(count)) held events are tried again")
      return .done
    }
  }
}

struct OutboxDiscard: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "discard", abstract: "Remove held events for good.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Flag(help: "Only say how many it would be.")
  var dryRun = false

  @OptionGroup var held: HeldOptions

  func run() async throws {
    try await reporting {
      let selection = try held.selection()
      let log = try Store.open(store)
      if dryRun {
        say("\(grouped(try await log.held(selection, limit: .max).count)) held events would be removed")
      } else {
        say("\(grouped(try await log.discard(selection))) held events are removed")
      }
      return .done
    }
  }
}
