import FlightEvents
import Foundation

/// Flights, cancellations and delays of each airline.
struct DelayTable: Equatable {
  struct Row: Equatable {
    var departed = 0
    var cancelled = 0
    var delayMinutes = 0
    var meanDelay: Double { departed == 0 ? 0 : Double(delayMinutes) / Double(departed) }
  }
  private(set) var rows: [String: Row] = [:]

  var flights: Int { rows.values.reduce(0) { $0 + $1.departed + $1.cancelled } }

  mutating func add(_ event: FlightEvent) {
    switch event {
    case .departed(let departure):
      rows[event.flight.carrier, default: Row()].departed += 1
      rows[event.flight.carrier, default: Row()].delayMinutes += departure.departureDelayMinutes
    case .cancelled:
      rows[event.flight.carrier, default: Row()].cancelled += 1
    }
  }

  func text(eventsPerSecond: Double) -> String {
    func line(_ name: String, _ row: Row) -> String {
      String(
        format: "%-8@ %8d %10d %12.1f min", name as NSString, row.departed + row.cancelled, row.cancelled, row.meanDelay
      )
    }
    var total = Row()
    for row in rows.values {
      total.departed += row.departed
      total.cancelled += row.cancelled
      total.delayMinutes += row.delayMinutes
    }
    var lines = ["airline   flights  cancelled   mean delay"]
    lines += rows.sorted { $0.key < $1.key }.map { line($0.key, $0.value) }
    lines.append(line("all", total))
    lines.append(String(format: "%.0f events per second", eventsPerSecond))
    return lines.joined(separator: "\n")
  }
}
