import ArgumentParser

@main
struct FaultMatrix: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fault-matrix",
    abstract: "Does every fault to a publisher and a worker in every phase of their work, and counts.",
    discussion: """
      A publisher records events in its store, relays them and publishes others directly; a worker handles them through the \
      inbox of another store, in order, and a second time without a store, with retries over the broker. Each run brings them \
      into a phase, lets a fault happen, and says from independent ledgers what was lost, doubled or out of order, how \
      soon work went on, and what was leaked.
      """,
    subcommands: [RunCommand.self, TableCommand.self, PublisherProcess.self, WorkerProcess.self],
    defaultSubcommand: RunCommand.self)
}
