import ArgumentParser
import Foundation

/// Makes the table of docs/reliability.md from the lines of any number of runs.
struct TableCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "table", abstract: "Prints the table of docs/reliability.md, from files of JSON lines.")

  @Argument(help: "Files that `run --output` has written.")
  var files: [String]

  func run() throws {
    let outcomes = try files.flatMap(Outcome.read)
    print(Report(outcomes).text)
  }
}
