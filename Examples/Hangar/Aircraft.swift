import FlightEvents
import Warren

/// One aircraft: what its flights have made of it. Its stream is `aircraft-<tail number>`.
struct Aircraft: Decider {
  enum Command: Sendable {
    case depart(Departure)
    case cancel(Flight)
  }
  typealias Event = FlightEvent
  enum Refusal: Error { case reportedBefore(Flight) }
  static let category = "aircraft"

  private var reported: Set<Flight> = []
  private(set) var flights = 0
  private(set) var cancelled = 0
  private(set) var delayMinutes = 0
  /// Where it flew to last.
  private(set) var airport: String?

  func decide(_ command: Command) throws(Refusal) -> [FlightEvent] {
    switch command {
    case .depart(let departure):
      if reported.contains(departure.flight) { throw .reportedBefore(departure.flight) }
      return [.departed(departure)]
    case .cancel(let flight):
      if reported.contains(flight) { throw .reportedBefore(flight) }
      return [.cancelled(flight)]
    }
  }

  mutating func evolve(_ event: FlightEvent) {
    reported.insert(event.flight)
    switch event {
    case .departed(let departure):
      flights += 1
      delayMinutes += departure.departureDelayMinutes
      airport = departure.flight.destination
    case .cancelled: cancelled += 1
    }
  }
}
