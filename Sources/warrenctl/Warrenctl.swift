import ArgumentParser

@main
struct Warrenctl: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "warrenctl",
    abstract: "Publish, watch and measure events over RabbitMQ.",
    discussion: """
      Events are JSON lines on standard input and output; words for people go to standard error.

      Exit codes: 0 done, 64 wrong usage, 65 bad data, 69 broker unavailable or nobody bound, 70 internal error, \
      74 input or output failed, 75 try again, 78 wrong configuration.
      """,
    version: "0.1.0",
    subcommands: [
      PublishCommand.self, TailCommand.self, WorkCommand.self, RelayCommand.self, OutboxCommand.self, DeadCommand.self,
      StoreCommand.self, PermissionsCommand.self, BenchCommand.self,
    ])
}
