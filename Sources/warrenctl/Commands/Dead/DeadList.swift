import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

struct DeadList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "How many dead letters there are, by type and cause.",
    discussion: """
      Counts letters, and events: one that is there several times is one event. Causes that begin with "broker." are those of \
      letters that the broker itself has moved.
      """)

  @OptionGroup var dead: DeadOptions

  func run() async throws {
    try await reporting {
      var table = Table(["TYPE", "CAUSE", "LETTERS", "EVENTS", "FIRST", "LAST", "LAST ERROR"])
      let status = try await dead.forEachPlace { letters, place, _ in
        let groups = try await letters.groups(of: place)
        for group in groups { if dead.json { try emitJSON(fields(group)) } else { table.add(cells(group)) } }
        if groups.isEmpty { say("no dead letters of \(place)") }
        return .done
      }
      for line in table.lines { try emit(line.utf8) }
      return status
    }
  }

  private func fields(_ group: DeadLetterGroup) -> [String: Any] {
    var fields: [String: Any] = [
      "cause": group.cause, "letters": group.letters, "events": group.events,
    ]
    fields["type"] = group.type?.name
    fields["first"] = group.first?.rfc3339
    fields["last"] = group.last?.rfc3339
    if !group.reason.isEmpty { fields["reason"] = group.reason }
    fields["example"] = group.example
    return fields
  }

  private func cells(_ group: DeadLetterGroup) -> [String] {
    [
      group.type?.name ?? "?", group.cause.shown(64), grouped(group.letters), grouped(group.events),
      group.first?.rfc3339 ?? "-", group.last?.rfc3339 ?? "-", group.reason.shown(120),
    ]
  }
}

/// Columns for people.
struct Table {
  private var rows: [[String]]

  init(_ titles: [String]) { rows = [titles] }

  mutating func add(_ row: [String]) { rows.append(row) }

  /// None when there are only titles.
  var lines: [String] {
    guard rows.count > 1 else { return [] }
    let columns = rows[0].indices
    let widths = columns.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = columns.map { row[$0].padding(toLength: widths[$0], withPad: " ", startingAt: 0) }
      return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
    }
  }
}
