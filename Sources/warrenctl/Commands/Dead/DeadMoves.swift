import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

/// How the commands go about it that move letters.
struct MoveOptions: ParsableArguments {
  @Option(help: "The most letters per second.")
  var rate: Double?

  @Flag(help: "Only say how many it would be.")
  var dryRun = false

  func validate() throws {
    if let rate, !(rate > 0 && rate <= 1e6) {
      throw ValidationError("--rate \(rate): allowed is more than 0, up to 1000000")
    }
  }

  var options: DeadLetters.Options { .init(rate: rate, dryRun: dryRun) }
}

/// Where the commands write what they take away.
struct RecordOptions: ParsableArguments {
  @Option(
    help: "Where letters are written before they go: JSON lines. Default: warren-dead-<service>.jsonl here.",
    completion: .file())
  var record: String?

  func path(_ dead: DeadOptions) -> String {
    record ?? "warren-dead-\(dead.service)\(dead.subscription.map { "_\($0)" } ?? "").jsonl"
  }
}

struct DeadReplay: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Give dead letters to the service again.",
    discussion: """
      They go to the service's work queue, and to no other service, as new deliveries with their old id. A letter that is \
      there several times goes once.
      """)

  @OptionGroup var dead: DeadOptions
  @OptionGroup var choice: Choice
  @OptionGroup var move: MoveOptions

  func run() async throws {
    try await reporting {
      let selection = try choice.deadLetters()
      return try await dead.forEachPlace { letters, place, interrupt in
        var tally = DeadTally("replayed", place, dead, move)
        let report = try await letters.replay(place, selection, options: move.options) { report in
          tally.show(report)
          return !interrupt.isRaised
        }
        return try tally.end(report, selection)
      }
    }
  }
}

struct DeadDiscard: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "discard",
    abstract: "Remove dead letters for good, with a record of them.",
    discussion: "The record holds the whole messages. It is on the disk before a letter is removed.")

  @OptionGroup var dead: DeadOptions
  @OptionGroup var choice: Choice
  @OptionGroup var move: MoveOptions
  @OptionGroup var record: RecordOptions

  func run() async throws {
    try await reporting {
      let selection = try choice.deadLetters()
      let file = move.dryRun ? nil : try RecordFile(path: record.path(dead))
      return try await dead.forEachPlace { letters, place, interrupt in
        var tally = DeadTally("removed", place, dead, move)
        let report = try await letters.discard(place, selection, options: move.options) { report in
          tally.show(report)
          return !interrupt.isRaised
        } record: { found in
          let now = Date()
          try file?.append(found.map { DeadLine.record($0, action: "discard", of: "\(letters.owner)", at: now) })
        }
        if let file, report.done > 0 { say("recorded in \(file.path)") }
        return try tally.end(report, selection)
      }
    }
  }
}

/// Tells how a move goes and how it went.
struct DeadTally {
  private let verb: String
  private let place: DeadLetters.Place
  private let dead: DeadOptions
  private let move: MoveOptions
  private var progress = Progress()

  init(_ verb: String, _ place: DeadLetters.Place, _ dead: DeadOptions, _ move: MoveOptions) {
    self.verb = verb
    self.place = place
    self.dead = dead
    self.move = move
  }

  mutating func show(_ report: DeadLetters.Report) {
    let verb = verb
    progress.show("\(grouped(report.done)) \(verb)")
  }

  mutating func end(_ report: DeadLetters.Report, _ selection: DeadLetters.Selection) throws -> ExitStatus {
    progress.clear()
    if dead.json { try emitJSON(fields(report)) }
    var words: [String] = []
    if move.dryRun {
      words.append("\(grouped(report.chosen)) letters of \(place) would be \(verb)")
    } else {
      words.append("\(grouped(report.done)) letters of \(place) are \(verb)")
    }
    if report.repeats > 0 { words.append("\(grouped(report.repeats)) of them repeats, which go with the first") }
    say(words.joined(separator: ", "))
    if report.failed > 0 {
      say("\(grouped(report.failed)) letters stay where they are: \(report.problem ?? "")")
    }
    switch report.stopped {
    case .refused(let text)?:
      say("stopped: \(text)")
      return .unavailable
    case .later(let text)?:
      say("stopped, the same command may succeed later: \(text)")
      return .tryAgain
    case .asked?:
      say("stopped")
      return .tryAgain
    case nil: break
    }
    if report.chosen == 0, selection.ids != nil {
      say("no dead letter of \(place) has such an id")
      return .badData
    }
    return report.failed > 0 ? .badData : .done
  }

  private func fields(_ report: DeadLetters.Report) -> [String: Any] {
    var fields: [String: Any] = [
      "of": place.description, "chosen": report.chosen, "done": report.done, "repeats": report.repeats,
      "failed": report.failed, "dryRun": move.dryRun,
    ]
    fields["problem"] = report.problem
    switch report.stopped {
    case .refused(let text)?, .later(let text)?: fields["stopped"] = text
    case .asked?: fields["stopped"] = "asked"
    case nil: break
    }
    return fields
  }
}
