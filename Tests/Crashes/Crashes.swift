import ArgumentParser

@main
struct Crashes: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "crashes",
    abstract: "Kills processes that record, relay and handle events, and then counts.",
    discussion: """
      A writer records events in its store and relays them; a reader handles them through the inbox of another store. Both \
      are killed with SIGKILL, at random moments and at named places, and started again. At the end an independent ledger says \
      whether each committed event has had its effect once, and no rolled back one any.
      """,
    subcommands: [Run.self, Writer.self, Reader.self], defaultSubcommand: Run.self)
}
