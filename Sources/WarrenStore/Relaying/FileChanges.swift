import GRDB
import WarrenSupport

/// Sees the commits of other processes: `PRAGMA data_version` on a connection of its own that does nothing else.
/// Notifications about the file would come before the commit can be seen, and so miss it.
final class FileChanges: Sendable {
  private let connection: DatabaseQueue
  private let last = Lock<Int64>(-1)

  init(path: String) throws(StoreError) {
    var configuration = Configuration()
    configuration.readonly = true
    configuration.label = "warren.changes"
    configuration.maximumReaderCount = 1
    do {
      connection = try DatabaseQueue(path: path, configuration: configuration)
    } catch {
      throw StoreError(error, doing: "opening \(path) to watch it")
    }
  }

  /// True when something was committed since the last call, by any connection.
  func look() throws -> Bool {
    let version = try connection.unsafeRead { db -> Int64 in
      let statement = try RawStatement("PRAGMA data_version", db)
      guard try statement.step() else { return -1 }
      defer { statement.reset() }
      return statement.int(0)
    }
    return last.withLock { last in
      defer { last = version }
      return last != version
    }
  }
}
