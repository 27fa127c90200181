import ArgumentParser
import Warren
import WarrenRabbitMQ
import WarrenStore

struct RelayCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "relay",
    abstract: "Deliver what a store has recorded.",
    discussion: """
      Runs until it is stopped, and waits its turn while another process relays the same store. With --once: until nothing can \
      be sent any more; exit code 0 when nothing is left, 75 with the reasons when events are held or the broker is away.
      """)

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Flag(help: "End when nothing can be sent any more.")
  var once = false

  @Option(help: "With --once: give up after so many seconds without progress.")
  var wait = 10.0

  @OptionGroup var broker: BrokerOptions

  func run() async throws {
    try await reporting {
      let log = try Store.open(store)
      let configuration = try broker.configuration(named: "relay")
      return try await Interrupt.watching { interrupt in
        try await withRelay(log, configuration) { watch in
          guard once else {
            say("relaying \(store)")
            let failure = watch.failure
            try await untilFirst(interrupt.wait, { _ = await failure.wait { $0 != nil } })
            if let failure = failure.value { throw failure }
            return .done
          }
          return try await relayOnce(watch, interrupt)
        }
      }
    }
  }

  private func relayOnce(_ watch: RelayWatch, _ interrupt: Interrupt) async throws -> ExitStatus {
    let before = try await watch.log.status()
    var progress = Progress()
    var status = try await watch.wait(patience: .seconds(wait), interrupt) {
      let left = $0.backlogRows
      progress.show("\(grouped(left)) to go")
    } until: {
      $0.checkpoint == $0.head
    }
    if status.checkpoint == status.head, !status.held.isEmpty {
      // What is held is tried again when a relay starts; its outcome is known soon.
      status = try await watch.wait(patience: .seconds(min(wait, 2)), interrupt) { $0.held.isEmpty }
    }
    progress.clear()
    let sent = status.checkpoint.rawValue - before.checkpoint.rawValue
    say("\(grouped(Int(sent))) positions passed, \(grouped(status.backlogRows)) events left")
    if !status.held.isEmpty { say("held: \(heldText(status.held)). See warrenctl outbox list --store \(store)") }
    return status.backlogRows == 0 && status.held.isEmpty ? .done : .tryAgain
  }
}
