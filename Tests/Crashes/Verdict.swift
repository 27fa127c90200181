import GRDB

/// What the ledger, the writer's data and the reader's effects say about one another.
struct Verdict {
  private(set) var problems: [String] = []
  let text: String

  init(ledger: String, writer: String, reader: String) throws {
    let entries = try Ledger.read(ledger)
    func rows(_ path: String, _ table: String) throws -> [Ledger.Entry] {
      try DatabaseQueue(path: path).read { db in
        try Row.fetchAll(db, sql: "SELECT key, number FROM \(table) ORDER BY rowid").map {
          Ledger.Entry(key: $0["key"], number: $0["number"])
        }
      }
    }
    let done = try rows(writer, "done")
    let effects = try rows(reader, "effect")
    let (committed, handled) = (Set(done), Set(effects))
    var problems: [String] = []
    func check(_ what: String, _ wrong: some Collection<Ledger.Entry>) {
      guard let first = wrong.first else { return }
      problems.append("\(wrong.count) \(what), such as number \(first.number) of key \(first.key)")
    }
    check(
      "acknowledged events are not in the data",
      entries.filter { $0.value == .recorded }.keys.filter { !committed.contains($0) })
    check(
      "rolled back events are in the data", entries.filter { $0.value == .takenBack }.keys.filter(committed.contains))
    check("committed events had no effect", committed.subtracting(handled))
    check("events had an effect and were never committed", handled.subtracting(committed))
    let doubled = Dictionary(grouping: effects) { $0 }.filter { $0.value.count > 1 }.keys
    check("events had more than one effect", Array(doubled))
    for key in Set(effects.map(\.key)) {
      let numbers = effects.filter { $0.key == key }.map(\.number)
      if numbers != numbers.sorted() { problems.append("the effects of key \(key) are out of order") }
    }
    self.problems = problems
    let unclear = entries.values.count { $0 == .tried }
    text =
      ([
        "\(entries.count) events tried, \(done.count) committed, \(effects.count) effects, \(unclear) cut off in the middle"
      ]
      + (problems.isEmpty ? ["each committed event had its effect once, in order"] : problems)).joined(separator: "\n")
  }
}
