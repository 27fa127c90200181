import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// An append whose events are encoded and checked: what is left can only fail for what is expected of its streams.
final class PreparedAppend: Sendable {
  struct Part: Sendable {
    let stream: StreamName
    let expecting: ExpectedVersion
    let rows: [EventRow]
    /// The relay sends them.
    let isPublic: [Bool]
  }
  let parts: [Part]
  let request: String?
  let snapshot: StoredSnapshot?
  private let state = Lock<Appended?>(nil)

  init(_ parts: [Part], request: String?, snapshot: StoredSnapshot? = nil) {
    self.parts = parts
    self.request = request
    self.snapshot = snapshot
  }

  var size: Int64 { parts.reduce(0) { $0 + $1.rows.reduce(0) { $0 + $1.size } } }

  /// Kept for the caller until the commit says that it is true.
  var outcome: Appended? {
    get { state.withLock { $0 } }
    set { state.withLock { $0 = newValue } }
  }
}

/// A state that was folded from a stream's events up to a version.
struct StoredSnapshot: Sendable {
  var stream: StreamName
  var kind: String
  var format: Int
  var version: Int64
  var state: Data
}
