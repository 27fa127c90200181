import GRDB
import Warren
import WarrenSupport

/// What runs inside each append of this process: projections and mappers whose work commits with the events or not at all.
///
/// The file names them too, so that a process without one of them cannot append behind its back.
final class InlineReaders: Sendable {
  struct Reader: Sendable {
    /// As it stands in the file: `delays/2`.
    let name: String
    let run: @Sendable ([RecordedEvent], Database) throws -> Void
  }
  private struct State {
    var committed: [Reader] = []
    /// What the transaction that is open has made of it: it goes back with it, like the file's list. A group is run again when
    /// one of its members fails, and then an append before the change must find what there was before.
    var pending: [Reader]?
    var current: [Reader] { pending ?? committed }
  }
  private let state = Lock(State())

  var areNone: Bool { state.withLock { $0.current.isEmpty } }

  /// Replaces an earlier one of the same name up to `/`. The last thing in its member, as it goes back only with the whole
  /// transaction.
  func add(_ reader: Reader, _ db: Database) {
    change(db) { readers in
      readers.removeAll { Self.base($0.name) == Self.base(reader.name) }
      readers.append(reader)
      readers.sort { $0.name < $1.name }
    }
  }

  /// The last thing in its member too.
  func remove(_ base: String, _ db: Database) { change(db) { $0.removeAll { Self.base($0.name) == base } } }

  private func change(_ db: Database, _ body: (inout [Reader]) -> Void) {
    state.withLock { state in
      var readers = state.current
      body(&readers)
      state.pending = readers
    }
    db.afterNextTransaction { [state] _ in
      state.withLock { state in
        state.committed = state.current
        state.pending = nil
      }
    } onRollback: { [state] _ in
      state.withLock { $0.pending = nil }
    }
  }

  /// - Throws: ``StoreError`` with code ``StoreError/Code/projectionMissing`` when the file names others.
  func readers(_ db: Database) throws -> [Reader] {
    let readers = state.withLock { $0.current }
    let names = try Self.names(db)
    guard readers.count == names.count, zip(readers, names).allSatisfy({ $0.name == $1 }) else {
      let (ours, theirs) = (Set(readers.map(\.name)), Set(names))
      let missing = theirs.subtracting(ours).sorted().joined(separator: ", ")
      let extra = ours.subtracting(theirs).sorted().joined(separator: ", ")
      throw StoreError(
        .projectionMissing,
        missing.isEmpty
          ? "\(extra) was taken out of this file by another process: start again"
          : "appends to this file run \(missing), which this process does not have: add it to the log before the first append, or take it out with log.removeInline"
      )
    }
    return readers
  }

  static func run(_ readers: [Reader], _ events: [RecordedEvent], _ db: Database) throws {
    guard !events.isEmpty else { return }
    for reader in readers { try reader.run(events, db) }
  }

  // MARK: The file's list

  private static func base(_ name: String) -> Substring { name.prefix { $0 != "/" } }

  private static func names(_ db: Database) throws -> [String] {
    let select = try RawStatement("SELECT value FROM warren_meta WHERE name = 'inline'", db)
    guard try select.step() else { return [] }
    defer { select.reset() }
    return (select.text(0) ?? "").split(separator: ",").map(String.init)
  }

  static func enter(_ name: String, _ db: Database) throws {
    let names = try names(db).filter { base($0) != base(name) } + [name]
    try write(names.sorted(), db)
  }

  static func leave(_ baseName: String, _ db: Database) throws {
    try write(try names(db).filter { base($0) != baseName }, db)
  }

  private static func write(_ names: [String], _ db: Database) throws {
    try db.execute(
      sql: "INSERT OR REPLACE INTO warren_meta VALUES ('inline', ?)", arguments: [names.joined(separator: ",")])
  }
}
