import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct StoreAppend: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "append",
    abstract: "Append JSON lines of standard input to a stream, all or nothing.",
    discussion: """
      Exit code 65 when a line is no JSON, or the stream is not as expected: then nothing is appended. With --request it happens \
      once, however often it is tried.
      """)

  @Option(help: "The store's file. It is made where it is missing.", completion: .file())
  var store: String

  @Argument(help: "The stream.")
  var stream: String

  @Argument(help: "The type of the events.")
  var type: String

  @Option(help: "What the stream must be: any, none, exists, or the version of its last event.")
  var expect = "any"

  @Option(help: "An id under which this is appended once.")
  var request: String?

  @Option(help: "The service that the events come from.")
  var source = "warrenctl"

  @Option(help: "Who did it.")
  var actor: String?

  @Flag(help: "The relay sends the events. Otherwise they are private to the service.")
  var publish = false

  private static let longest = 16 << 20

  private func expected() throws -> ExpectedVersion {
    switch expect {
    case "any": return .any
    case "none": return .noStream
    case "exists": return .exists
    default:
      guard let version = Int64(expect), version >= 0 else {
        throw ValidationError("--expect is \"\(expect)\": allowed are any, none, exists and a version.")
      }
      return .version(version)
    }
  }

  func run() async throws {
    try await reporting {
      let (stream, type, source) = (
        try StreamName(stream as String), try EventType(type as String), try ServiceName(source as String)
      )
      let expected = try expected()
      var events: [EncodedEvent] = []
      let lines: Lines
      do throws(Lines.ReadFailed) {
        lines = try Lines(path: nil, longest: Self.longest)
        while let batch = try await lines.next() {
          for line in batch {
            guard let text = line.text, case .success(let event) = EventLine.parse(text, keyField: nil) else {
              say("warrenctl: line \(line.number) is not valid JSON, or too long: nothing is appended")
              return .badData
            }
            var encoded = event.encoded(type: type, source: source.name)
            encoded.metadata.key = stream.name
            if let actor { encoded.metadata.headers["warren-actor"] = .string(actor) }
            events.append(encoded)
          }
        }
      } catch {
        say("warrenctl: \(error)")
        return .inputOutput
      }
      let log = try Store.open(store, source: source, mustExist: false)
      do {
        let appended = try await log.append(
          [StreamAppend(encoded: events, to: stream, expecting: expected, publishes: publish)], request: request)
        var fields: [String: Any] = [
          "stream": stream.name, "version": appended.version, "repeat": appended.isRepeat,
        ]
        fields["first"] = appended.first?.rawValue
        fields["last"] = appended.last?.rawValue
        try emitJSON(fields)
        return .done
      } catch let conflict as ConflictError {
        say("warrenctl: \(conflict)")
        return .badData
      }
    }
  }
}
