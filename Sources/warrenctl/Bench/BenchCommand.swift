import ArgumentParser

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure: typed events, JSON coded, on the path that services use.",
    discussion: "Every run makes its queue anew, deletes it afterwards, and prints one JSON line.",
    subcommands: [
      BenchPublish.self, BenchConsume.self, BenchLatency.self, BenchOutbox.self, BenchInbox.self,
      BenchAppend.self, BenchReplay.self,
    ])
}
