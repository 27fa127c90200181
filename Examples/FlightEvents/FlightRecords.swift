public import Foundation

/// The flights of a file with one JSON object a line.
public enum FlightRecords {
  private struct Record: Decodable {
    var departure: Int?
    var departureDelayMinutes: Int?
  }

  /// Reads the whole file.
  /// - Throws: what Foundation says about the file, or about the first line that is no flight.
  public static func events(in file: URL) throws -> [FlightEvent] {
    let decoder = JSONDecoder()
    return try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).map { line in
      let flight = try decoder.decode(Flight.self, from: line)
      let record = try decoder.decode(Record.self, from: line)
      guard let departure = record.departure, let delay = record.departureDelayMinutes else {
        return .cancelled(flight)
      }
      return .departed(Departure(flight: flight, departure: departure, departureDelayMinutes: delay))
    }
  }
}
