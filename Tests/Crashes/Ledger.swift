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
    case takenBack = "back"
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

  /// By bytes: splitting text takes a second for a long ledger in a debug build, which is longer than most writers live.
  static func read(_ path: String) throws -> [Entry: Word] {
    var entries: [Entry: Word] = [:]
    for line in try Data(contentsOf: URL(fileURLWithPath: path)).split(separator: 0x0a) {
      let parts = line.split(separator: 0x20)
      guard parts.count == 3, let word = Word(initial: parts[0].first) else { continue }
      entries[Entry(key: number(parts[1]), number: number(parts[2]))] = word
    }
    return entries
  }

  private static func number(_ digits: Data) -> Int { digits.reduce(0) { $0 * 10 + Int($1) - 0x30 } }
}

extension Ledger.Word {
  fileprivate init?(initial: UInt8?) {
    switch initial {
    case UInt8(ascii: "t"): self = .tried
    case UInt8(ascii: "r"): self = .recorded
    case UInt8(ascii: "b"): self = .takenBack
    default: return nil
    }
  }
}
