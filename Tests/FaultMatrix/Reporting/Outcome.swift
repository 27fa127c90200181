import Foundation

/// One run, as one line of JSON.
struct Outcome: Codable, Sendable {
  var fault: Fault
  var phase: Phase
  var seed: UInt64
  /// Empty when all was as it must be.
  var problems: [String]
  var recorded = 0
  var confirmed = 0
  var refused = 0
  var unknown = 0
  var effects = 0
  var handled = 0
  /// Handled again by the subscription without a store.
  var repeats = 0
  /// Missing, as the fault is expected to make them.
  var gone = 0
  /// In milliseconds.
  var resumed: Int?
  var took = 0
  /// Memory that a process has gained in its session so far, in kB.
  var growth = 0
  var broker = ""
  /// Where its files are, when something was wrong.
  var files: String?

  var cell: Cell { Cell(fault: fault, phase: phase) }

  var line: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
  }

  /// From a file of such lines; what is no such line is left out.
  static func read(_ path: String) throws -> [Outcome] {
    let decoder = JSONDecoder()
    return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").compactMap {
      try? decoder.decode(Outcome.self, from: Data($0.utf8))
    }
  }
}
