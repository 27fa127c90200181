import ArgumentParser
import FlightEvents
import Foundation
import Warren
import WarrenStore

/// The event store in five minutes: each aircraft is a stream, a table of airport delays is made of all of them and made anew
/// while flights arrive, and an aircraft is shown as it was on a day. Needs no broker.
@main
struct Hangar: AsyncParsableCommand {
  @Option(help: "The flights, one JSON object a line.")
  var file = "Examples/Data/flights.jsonl"

  @Option(help: "The store. It must not exist yet.")
  var store: String

  func run() async throws {
    let flights = try FlightRecords.events(in: URL(fileURLWithPath: file))
    let log = try EventLog(path: store, source: "hangar")
    let (morning, evening) = (flights[..<(flights.count / 2)], flights[(flights.count / 2)...])

    // 1. Commands: each loads an aircraft's state from its stream, decides, and appends.
    try await report(morning, to: log)
    print("\(morning.count) flights in \(try await log.streams(limit: 100_000).count) streams, one for each aircraft")

    // 2. A read model behind them, which says when it has seen what was appended.
    let first = AirportDelays(version: 1)
    let old = log.projector(first)
    let oldRun = Task { try await old.run() }
    try await log.wait(for: first, reached: log.head(), timeout: .seconds(60))
    print("airport delays, version 1:")
    for row in try await DelayRow.all(log) { print(row.text) }

    // 3. Its second version is built beside it, while flights go on to arrive and the table goes on to be read.
    async let arriving: Void = report(evening, to: log)
    let second = AirportDelays(version: 2)
    let new = log.projector(second)
    let newRun = Task { try await new.run() }
    var looks = 0
    while try await DelayRow.all(log).first?.cancelled == nil {
      looks += 1
      try await Task.sleep(for: .milliseconds(5))
    }
    print("version 2 took its place; the table was read \(looks) times meanwhile and was whole each time")
    try await arriving
    try await log.wait(for: second, reached: log.head(), timeout: .seconds(60))
    print("airport delays, version 2:")
    for row in try await DelayRow.all(log) { print(row.text) }

    // 4. An aircraft as it was, and as it is.
    let tail = "N725MQ"
    for day in ["2013-01-02", "2013-01-03", "2013-01-06"] {
      let then = try await log.state(Aircraft.self, tail, at: .date(Flight.midnight(day)))
      print(
        "\(tail) on \(day): \(then.state.flights) flights, \(then.state.delayMinutes) minutes late, \(then.state.airport ?? "nowhere")"
      )
    }

    // 5. A report that comes twice is refused, whoever sends it.
    do {
      try await report(flights[..<1], to: log)
      throw Failed(text: "a flight was reported twice")
    } catch is Aircraft.Refusal {}

    for run in [oldRun, newRun] {
      run.cancel()
      try await run.value
    }
    try await check(log, flights)
    print("nothing is missing: every airport's numbers are those of the file")
  }

  /// The flights of one aircraft in order, many aircraft at once.
  private func report(_ flights: ArraySlice<FlightEvent>, to log: EventLog) async throws {
    let fleet = Dictionary(grouping: flights, by: \.flight.tail)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (tail, flights) in fleet {
        group.addTask {
          for flight in flights {
            let command: Aircraft.Command =
              switch flight {
              case .departed(let departure): .depart(departure)
              case .cancelled(let flight): .cancel(flight)
              }
            try await log.run(Aircraft.self, tail, command, options: .init(time: flight.flight.scheduledTime))
          }
        }
      }
      try await group.waitForAll()
    }
  }

  private struct Failed: Error, CustomStringConvertible {
    var text: String
    var description: String { text }
  }

  private func check(_ log: EventLog, _ flights: [FlightEvent]) async throws {
    var expected: [String: DelayRow] = [:]
    for event in flights {
      let airport = event.flight.origin
      var row = expected[airport] ?? DelayRow(airport: airport, departed: 0, minutes: 0, cancelled: 0)
      switch event {
      case .departed(let departure):
        row.departed += 1
        row.minutes += departure.departureDelayMinutes
      case .cancelled: row.cancelled = (row.cancelled ?? 0) + 1
      }
      expected[airport] = row
    }
    let found = try await DelayRow.all(log)
    guard found == expected.values.sorted(by: { $0.airport < $1.airport }) else {
      throw Failed(text: "the table is \(found), and the file says \(expected)")
    }
  }
}
