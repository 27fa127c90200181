import Foundation

/// What the runs have shown, in Markdown.
struct Report {
  private let outcomes: [Outcome]

  init(_ outcomes: [Outcome]) { self.outcomes = outcomes }

  var text: String {
    [head, table, totals, expectations, failures].filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
  }

  private var head: String {
    let brokers = Set(outcomes.map(\.broker)).filter { !$0.isEmpty }.sorted().joined(separator: ", ")
    let machine = "\(ProcessInfo.processInfo.processorCount) processors, \(system)"
    return """
      # Reliability: what was done to Warren, and what came of it

      Made with `scripts/torture matrix` (`fault-matrix run`, then `fault-matrix table`; `--help` says how to run parts of it). \
      RabbitMQ \(brokers); \(machine); \(date). Debug build.

      A **publisher** process records events in its SQLite log, which a relay delivers, and publishes others directly. A \
      **worker** process handles each of them twice: through the inbox of another SQLite log, in the order of their keys, and by a \
      second subscription without a store, with retries over the broker's queues; every ninth and every seventh event fails at \
      first. A run brings both into a phase of their work, does the fault, ends it, waits until events made afterwards are \
      handled, stops the load, and counts, from ledgers that know nothing of Warren. It has **passed** when

      - everything that was recorded or confirmed has had its effect, once, in the order of its key, and was handled by the other \
      subscription (at least once), but for what a deleted queue, binding or exchange takes along, as said below;
      - nothing that was refused, and nothing that nobody made, had an effect;
      - work went on within the time that is said below;
      - no event is left in a queue, in the log or in the dead letters;
      - both processes hold two sockets and two threads of connections, as before, and have not grown by 64 MiB.

      In the table: runs that passed (of how many, where some failed), and the longest time until work went on.
      """
  }

  private var system: String {
    let release = (try? String(contentsOfFile: "/etc/os-release", encoding: .utf8)) ?? ""
    let name = release.split(separator: "\n").first { $0.hasPrefix("PRETTY_NAME=") }
    return name.map { $0.dropFirst("PRETTY_NAME=".count).filter { $0 != "\"" } } ?? "macOS"
  }

  private var date: String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "UTC")
    formatter.dateFormat = "d MMMM yyyy"
    return formatter.string(from: Date())
  }

  private var table: String {
    let byCell = Dictionary(grouping: outcomes, by: \.cell)
    var lines = ["| fault | " + Phase.allCases.map(\.title).joined(separator: " | ") + " |"]
    lines.append("| --- |" + String(repeating: " --- |", count: Phase.allCases.count))
    for fault in Fault.allCases {
      let cells = Phase.allCases.map { phase -> String in
        let cell = Cell(fault: fault, phase: phase)
        if cell.obstacle != nil { return "not applicable" }
        guard let runs = byCell[cell], !runs.isEmpty else { return "not run" }
        let passed = runs.count { $0.problems.isEmpty }
        let worst = runs.compactMap(\.resumed).max().map { String(format: ", %.1f s", Double($0) / 1000) } ?? ""
        return (passed == runs.count ? "\(passed)" : "**\(passed) of \(runs.count)**") + worst
      }
      lines.append("| \(fault.title) | " + cells.joined(separator: " | ") + " |")
    }
    return lines.joined(separator: "\n")
  }

  private var totals: String {
    func sum(_ value: (Outcome) -> Int) -> Int { outcomes.reduce(0) { $0 + value($1) } }
    let passed = outcomes.count { $0.problems.isEmpty }
    return """
      \(outcomes.count) runs, \(passed) passed. \(sum(\.recorded)) events recorded, \(sum(\.confirmed)) published directly and \
      confirmed, \(sum(\.refused)) refused, \(sum(\.unknown)) with an unknown outcome; \(sum(\.effects)) effects; handled \
      \(sum(\.handled)) times without a store and \(sum(\.repeats)) times again; \(sum(\.gone)) gone with what was deleted. The most \
      that a process grew in its runs: \(outcomes.map(\.growth).max() ?? 0) kB.
      """
  }

  private var expectations: String {
    var lines = [
      "## What is expected of each fault", "", "| fault | goes on within | what is done, and what it may take along |",
      "| --- | --- | --- |",
    ]
    for fault in Fault.allCases {
      let expected = Expectation.of(Cell(fault: fault, phase: .publishing))
      var text = expected.text
      if expected.loss == .untilNoticed {
        text +=
          "; may be missing at the subscriptions that are hit: what was made before they got the first event again"
      }
      if !expected.reported.isEmpty { text += "; it is reported, in the log of a process or to who publishes" }
      lines.append("| \(fault.title) | \(expected.resumesWithin / .seconds(1)) s | \(text) |")
    }
    lines += ["", "In the phase `recovering` 3 s more, which a try to connect may be waiting for."]
    let impossible = Cell.all.filter { $0.obstacle != nil }
    lines += ["", "Not applicable:"] + [""]
    lines += impossible.map { "- \($0.fault.title), \($0.phase.title): \($0.obstacle ?? "")." }
    return lines.joined(separator: "\n")
  }

  private var failures: String {
    let failed = outcomes.filter { !$0.problems.isEmpty }
    guard !failed.isEmpty else { return "" }
    let lines = failed.map { "- \($0.cell), seed \($0.seed): \($0.problems.joined(separator: "; "))" }
    return (["## Runs that failed", ""] + lines).joined(separator: "\n")
  }
}
