#if DEBUG
  import ArgumentParser

  @main
  struct Fuzz: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "fuzz",
      abstract: "Gives bytes that nobody meant to everything that reads foreign bytes.",
      discussion: """
        URLs, names and times, field tables and properties, method and content frames, bodies, rows of a store, dead letters. Each \
        input is made from a sample by a few damages, or out of nothing; each must end in a value or in a typed error, and values \
        must survive being written and read again. The readers run in a process of their own: when it traps, hangs or takes too \
        long, the input is printed and the next process goes on behind it.
        """,
      subcommands: [Supervise.self, Work.self, Replay.self], defaultSubcommand: Supervise.self)
  }
#else
  @main
  struct Fuzz {
    static func main() { print("fuzz looks inside the libraries: build it for debugging") }
  }
#endif
