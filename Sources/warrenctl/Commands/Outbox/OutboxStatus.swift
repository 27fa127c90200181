import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct OutboxStatus: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Backlog, held events by cause, and who relays.",
    discussion: "Looks twice, half a second apart, when there is a backlog, to tell its rate.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Flag(help: "One JSON line on standard output.")
  var json = false

  func run() async throws {
    try await reporting {
      let log = try Store.open(store)
      let first = try await log.status()
      var status = first
      var rate: Double?
      if first.backlogRows > 0 {
        let start = ContinuousClock.now
        try? await Task.sleep(for: .milliseconds(500))
        status = try await log.status()
        rate = Double(status.passedRows - first.passedRows) / ((ContinuousClock.now - start) / .seconds(1))
      }
      if json { try emitJSON(fields(status, rate)) } else { describe(status, rate) }
      return .done
    }
  }

  private func fields(_ status: LogStatus, _ rate: Double?) -> [String: Any] {
    var fields: [String: Any] = [
      "head": status.head.rawValue, "checkpoint": status.checkpoint.rawValue, "backlog": status.backlogRows,
      "backlogBytes": status.backlogBytes, "held": status.held, "scheduled": status.scheduled,
      "dropped": status.dropped,
      "walBytes": status.walBytes, "abandoned": status.isAbandoned, "healthy": status.isHealthy,
      "reasons": status.reasons,
    ]
    if let age = status.oldestAge { fields["oldestAgeSeconds"] = age / .seconds(1) }
    if let process = status.relayProcess { fields["relayProcess"] = Int(process) }
    // Without a backlog it has nothing to get on with.
    if let silence = status.relaySilence, status.backlogRows > 0 {
      fields["relaySilentSeconds"] = silence / .seconds(1)
    }
    if let rate { fields["rate"] = rate.rounded() }
    if let rate, rate > 0 { fields["drainSeconds"] = (Double(status.backlogRows) / rate).rounded() }
    return fields
  }

  private func describe(_ status: LogStatus, _ rate: Double?) {
    var lines = ["backlog     \(grouped(status.backlogRows)) events, \(grouped(status.backlogBytes)) bytes"]
    if let age = status.oldestAge { lines.append("oldest      waits for \(Int(age / .seconds(1))) s") }
    if let rate {
      let left = rate > 0 ? ", drained in \(Int((Double(status.backlogRows) / rate).rounded())) s" : ""
      lines.append("rate        \(grouped(Int(rate))) events/s\(left)")
    }
    lines.append("held        \(status.held.isEmpty ? "nothing" : heldText(status.held))")
    lines.append("scheduled   \(grouped(status.scheduled))")
    if status.dropped > 0 { lines.append("dropped     \(grouped(status.dropped))") }
    if let process = status.relayProcess {
      var progress = ""
      if let silence = status.relaySilence.map({ Int($0 / .seconds(1)) }), status.backlogRows > 0 {
        progress = silence > 5 ? ", no progress for \(silence) s" : ", got on \(silence) s ago"
      }
      lines.append("relay       process \(process)\(progress)")
    } else {
      lines.append("relay       none")
    }
    lines.append("WAL         \(grouped(status.walBytes)) bytes")
    for reason in status.reasons { lines.append("WARNING     \(reason)") }
    print(lines.joined(separator: "\n"))
  }
}
