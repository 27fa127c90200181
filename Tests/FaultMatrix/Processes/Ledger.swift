import Foundation
import WarrenSupport

/// What a process did and was told, in a plain file that knows nothing of SQLite or Warren. A line is out when `write` has
/// returned: the kill of a process takes nothing back that the kernel has.
final class Ledger: Sendable {
  /// The first letter of a line.
  enum Word: UInt8, Sendable {
    /// About to be recorded or published.
    case tried = 0x74
    /// The log has said that it is recorded.
    case recorded = 0x72
    /// The broker has confirmed it.
    case confirmed = 0x63
    /// Neither is it recorded or published, nor will it be.
    case refused = 0x66
    /// It may be.
    case unknown = 0x75
    /// A handler has begun: of the inbox, of the subscription without a store.
    case begun = 0x62
    case begunPlain = 0x70
    /// The handler without a store is about to return.
    case handled = 0x68
  }

  struct Line: Sendable {
    var word: Word
    var run: Int
    var key: Int
    var number: Int
    /// When the event was made, and when the line was written.
    var at: Int64
    var time: Int64
  }

  private let descriptor: Int32

  init(path: String) { descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT, 0o644) }

  func note(_ word: Word, _ tick: Tick) {
    let text =
      "\(Character(UnicodeScalar(word.rawValue))) \(tick.run) \(tick.key) \(tick.number) \(tick.at) \(Shared.now)\n"
    let line = Array(text.utf8)
    let written = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    precondition(written == line.count, "the ledger cannot be written")
  }
}

/// Reads what is new in a ledger.
final class LedgerReader: Sendable {
  private struct State {
    var offset: UInt64 = 0
    var rest = Data()
    var lines: [Ledger.Line] = []
    var run = -1
  }
  private let path: String
  private let state = Lock(State())

  init(path: String) { self.path = path }

  /// Forgets what is of earlier runs.
  func begin(run: Int) {
    _ = lines()
    state.withLock { state in
      state.run = run
      state.lines = []
    }
  }

  /// The lines of this run so far.
  func lines() -> [Ledger.Line] {
    state.withLock { state in
      if let handle = FileHandle(forReadingAtPath: path) {
        defer { try? handle.close() }
        try? handle.seek(toOffset: state.offset)
        let data = (try? handle.readToEnd()) ?? Data()
        state.offset += UInt64(data.count)
        state.rest.append(data)
      }
      let end = state.rest.lastIndex(of: 0x0a) ?? state.rest.startIndex
      if end > state.rest.startIndex {
        let run = state.run
        let lines = state.rest[..<end].split(separator: 0x0a).compactMap(Self.parse).filter { $0.run == run }
        state.lines += lines
        state.rest = Data(state.rest[(end + 1)...])
      }
      return state.lines
    }
  }

  private static func parse(_ line: Data) -> Ledger.Line? {
    let parts = line.split(separator: 0x20)
    guard parts.count == 6, let word = parts[0].first.flatMap(Ledger.Word.init) else { return nil }
    func number(_ digits: Data) -> Int { digits.reduce(0) { $0 * 10 + Int($1) - 0x30 } }
    return Ledger.Line(
      word: word, run: number(parts[1]), key: number(parts[2]), number: number(parts[3]), at: Int64(number(parts[4])),
      time: Int64(number(parts[5])))
  }
}
