import ArgumentParser
import Foundation
import Warren
import WarrenRabbitMQ

struct DeadEdit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "edit",
    abstract: "Give dead letters another body.",
    discussion: """
      The letter goes behind the other dead letters, or with --replay to the service. Its headers tell when it was edited and \
      the fingerprint of the old body; the whole old letter is in the record.
      """)

  @OptionGroup var dead: DeadOptions
  @OptionGroup var choice: Choice

  @Option(help: "The new body; - is standard input.", completion: .file())
  var file: String?

  @Option(
    parsing: .upToNextOption,
    help: "FIELD=VALUE: sets a field of the body, inner ones as a.b; VALUE is JSON, or else a text.")
  var set: [String] = []

  @Flag(help: "The new body may be something else than JSON.")
  var raw = false

  @Flag(help: "Give the edited letter to the service, as replay does.")
  var replay = false

  @OptionGroup var move: MoveOptions
  @OptionGroup var record: RecordOptions

  func validate() throws {
    if (file == nil) == set.isEmpty { throw ValidationError("Say what to change: --file F, or --set FIELD=VALUE.") }
    if choice.all, file != nil { throw ValidationError("--file gives one body: choose letters with --id or --cause.") }
  }

  func run() async throws {
    try await reporting {
      let selection = try choice.deadLetters()
      let change = try bodyChange()
      let recordFile = move.dryRun ? nil : try RecordFile(path: record.path(dead))
      return try await dead.forEachPlace { letters, place, interrupt in
        var tally = DeadTally(replay ? "edited and replayed" : "edited", place, dead, move)
        let report = try await letters.edit(
          place, selection, then: replay ? .replayed : .stays, options: move.options
        ) { report in
          tally.show(report)
          return !interrupt.isRaised
        } record: { letter in
          try recordFile?.append([DeadLine.record(letter, action: "edit", of: "\(letters.owner)", at: Date())])
        } change: { letter in
          try change(letter.body)
        }
        if let recordFile, report.done > 0 { say("the old letters are recorded in \(recordFile.path)") }
        return try tally.end(report, selection)
      }
    }
  }

  private func bodyChange() throws -> (Data) throws -> Data {
    if let file {
      let body: Data
      do {
        body =
          file == "-" ? try FileHandle.standardInput.readToEnd() ?? Data() : try Data(contentsOf: URL(filePath: file))
      } catch {
        throw StoreProblem(text: "cannot read \(file): \(error)", status: .inputOutput)
      }
      if !raw, (try? JSONSerialization.jsonObject(with: body, options: .fragmentsAllowed)) == nil {
        throw StoreProblem(text: "\(file) is not valid JSON; --raw takes it nevertheless", status: .badData)
      }
      return { _ in body }
    }
    let changes = try set.map { try FieldChange($0) }
    return { old in
      let object: Any
      do { object = try JSONSerialization.jsonObject(with: old) } catch {
        throw FieldChange.Failed(text: "its body is no JSON object")
      }
      let changed = try changes.reduce(object) { try $1.applied(to: $0) }
      return try JSONSerialization.data(withJSONObject: changed, options: [.sortedKeys, .withoutEscapingSlashes])
    }
  }
}

/// One `--set FIELD=VALUE`.
struct FieldChange {
  struct Failed: Error, CustomStringConvertible {
    var text: String
    var description: String { text }
  }
  private let path: [String]
  private let value: Any

  init(_ text: String) throws {
    guard let sign = text.firstIndex(of: "="), sign != text.startIndex else {
      throw ValidationError("--set \(text): FIELD=VALUE is expected")
    }
    path = text[..<sign].split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    let value = String(text[text.index(after: sign)...])
    self.value = (try? JSONSerialization.jsonObject(with: Data(value.utf8), options: .fragmentsAllowed)) ?? value
  }

  func applied(to object: Any) throws -> Any { try applied(to: object, path[...]) }

  private func applied(to object: Any, _ path: ArraySlice<String>) throws -> Any {
    guard let first = path.first else { return value }
    guard var fields = object as? [String: Any] else {
      throw Failed(text: "\"\(first)\" cannot be set: what it would be in is no JSON object")
    }
    fields[first] = try applied(to: fields[first] ?? [String: Any](), path.dropFirst())
    return fields
  }
}
