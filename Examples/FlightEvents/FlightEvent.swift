public import Foundation
public import Warren

/// What an airline tells the world about its flights: two event types, `flight.departed` and `flight.cancelled`.
public enum FlightEvent: EventFamily {
  /// What the names of the types begin with.
  public static let family: EventType = "flight"
  /// The event types whose queues it reads.
  public static var eventTypes: [EventType] { ["flight.departed", "flight.cancelled"] }

  /// A flight has left its gate.
  case departed(Departure)
  /// A flight will not leave.
  case cancelled(Flight)

  /// The flight that it is about.
  public var flight: Flight {
    switch self {
    case .departed(let departure): departure.flight
    case .cancelled(let flight): flight
    }
  }
}

/// One flight as it was scheduled.
public struct Flight: Codable, Sendable, Hashable {
  /// The day, as `2013-01-01`.
  public var date: String
  /// The airline's code, such as `UA`.
  public var carrier: String
  /// The flight's number.
  public var flight: Int
  /// The aircraft.
  public var tail: String
  /// The airport it leaves from.
  public var origin: String
  /// The airport it goes to.
  public var destination: String
  /// Local time as hours and minutes: 517 is 5:17.
  public var scheduledDeparture: Int
}

extension Flight {
  /// When it was to leave; the file's local time taken for UTC.
  public var scheduledTime: Date {
    Self.midnight(date).addingTimeInterval(Double(scheduledDeparture / 100 * 3600 + scheduledDeparture % 100 * 60))
  }

  /// The beginning of a day such as `2013-01-01`; of 1970 for anything else.
  public static func midnight(_ day: String) -> Date {
    (try? Date("\(day)T00:00:00Z", strategy: .iso8601)) ?? Date(timeIntervalSince1970: 0)
  }
}

/// A flight's departure.
public struct Departure: Codable, Sendable, Hashable {
  /// The flight.
  public var flight: Flight
  /// When it left, local time as hours and minutes.
  public var departure: Int
  /// How late that was, in minutes; negative when it was early.
  public var departureDelayMinutes: Int
}
