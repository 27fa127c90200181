import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct StoreCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store",
    abstract: "Look at the event streams of a store, append to them, and send their history to a service.",
    subcommands: [
      StoreStreams.self, StoreRead.self, StoreAppend.self, StoreState.self, StoreVerify.self, StoreReaders.self,
      StoreReplay.self,
    ])
}

/// Which events a command is about.
struct EventOptions: ParsableArguments {
  @Option(help: "Only this stream.")
  var stream: String?

  @Option(parsing: .upToNextOption, help: "Only these event types.")
  var type: [String] = []

  @Option(help: "From this position on.")
  var from: Int64?

  @Option(help: "With --stream: from this version on.")
  var fromVersion: Int64?

  @Option(help: "Only what was recorded then or later, such as 2026-01-31T12:00:00Z.")
  var since: String?

  @Option(help: "The most events.")
  var limit: Int?

  func query(backwards: Bool = false) throws -> EventQuery {
    guard [from != nil, fromVersion != nil, since != nil].count(where: { $0 }) <= 1 else {
      throw ValidationError("Use only one of --from, --from-version and --since.")
    }
    if fromVersion != nil, stream == nil { throw ValidationError("--from-version is about a stream: add --stream.") }
    if let limit, limit < 0 { throw ValidationError("--limit is \(limit): allowed is 0 or more.") }
    var query = EventQuery(direction: backwards ? .backwards : .forwards, limit: limit)
    query.stream = try stream.map { try StreamName($0 as String) }
    query.types = try type.map { try EventType($0 as String) }
    if let from { query.start = .position(LogPosition(rawValue: from)) }
    if let fromVersion { query.start = .version(fromVersion) }
    if let since { query.start = .time(try Moments.date(since, "--since")) }
    return query
  }
}

enum Moments {
  static func date(_ text: String, _ option: String) throws -> Date {
    guard let date = Date(rfc3339: text) else {
      throw ValidationError("\(option) is \"\(text)\": write it as 2026-01-31T12:00:00Z.")
    }
    return date
  }
}

extension RecordedEvent {
  /// One JSON object: what is known about the event, and the event.
  var line: Data {
    var fields: [String: Any] = [
      "position": position.rawValue, "stream": stream.name, "version": version, "type": type.name,
      "time": time.rfc3339, "recordedAt": recordedAt.rfc3339, "public": isPublic,
    ]
    fields["id"] = metadata.id?.text
    fields["source"] = metadata.source
    fields["correlationID"] = metadata.correlationID
    fields["causationID"] = metadata.causationID
    fields["actor"] = actor
    let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
    var line = (try? JSONSerialization.data(withJSONObject: fields, options: options)) ?? Data("{}".utf8)
    line.removeLast()
    line.append(Data(#","event":"#.utf8))
    line.append(Printer.singleLine(body))
    line.append(UInt8(ascii: "}"))
    return line
  }
}
