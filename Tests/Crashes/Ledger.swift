import Foundation

/// What the writer did and was told, in a plain file that knows nothing of SQLite or Warren. A line is out when `write` has
/// returned: the kill of a process takes nothing back that the kernel has.
final class Ledger: Sendable {
  enum Word: String {
    /// About to be recorded.
    case tried
    /// The log has said that it is recorded.
    case recorded
    /// The transaction was rolled back.
    case rolledBack
  }
  private let descriptor: Int32

  init(path: String) {
    descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT, 0o644)
  }

  func note(_ word: Word, _ key: Int, _ number: Int) {
    let line = Array("\(word.rawValue) \(key) \(number)\n".utf8)
    let written = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    precondition(written == line.count, "the ledger cannot be written")
  }

  struct Entry: Hashable {
    var key: Int
    var number: Int
  }

  static func read(_ path: String) throws -> [Entry: Word] {
    var entries: [Entry: Word] = [:]
    for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
      let parts = line.split(separator: " ")
      guard parts.count == 3, let word = Word(rawValue: String(parts[0])), let key = Int(parts[1]),
        let number = Int(parts[2])
      else { continue }
      entries[Entry(key: key, number: number)] = word
    }
    return entries
  }
}
