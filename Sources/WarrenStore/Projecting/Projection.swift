public import GRDB
public import Warren

/// A read model: tables that are made of events and of nothing else, so that they can be made again.
///
/// ```swift
/// struct Balances: Projection {
///   let name = "balances", version = 1
///   let eventTypes = AccountEvent.readTypes
///
///   func create(_ context: ProjectionContext) throws {
///     try context.db.execute(sql: "CREATE TABLE \(context.table("balances")) (account TEXT PRIMARY KEY, cents INTEGER)")
///   }
///   func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws {
///     switch try event.decoded(as: AccountEvent.self) { … }
///   }
/// }
/// ```
/// It runs inside appends (``EventLog/add(inline:onPoison:)``) or behind them (``EventLog/projector(_:options:)``). A new
/// ``version`` is built beside the one in use and takes its place in one transaction.
public protocol Projection: Sendable {
  /// 1 to 64 characters of `a-z`, `0-9` and `-`. Stable: it is in the file.
  var name: String { get }
  /// Raise it with every change to the tables or to what ``apply(_:_:)`` does: then they are made anew.
  var version: Int { get }
  /// The types of the events that it wants; ``Event/readTypes`` has the older names of a type too.
  var eventTypes: [EventType] { get }

  /// Makes the tables, with names that ``ProjectionContext/table(_:)`` gives.
  func create(_ context: ProjectionContext) throws
  /// Writes what an event means. In the order of the log, each event once. It must do nothing but use the database, and may
  /// run again when the transaction was lost.
  func apply(_ event: RecordedEvent, _ context: ProjectionContext) throws
}

/// What a projection works with.
public struct ProjectionContext {
  /// The transaction.
  public let db: Database
  /// True while this version is not in use yet: nothing that it records leaves.
  public let isRebuilding: Bool
  let names: ProjectionNames
  let log: EventLog
  let isSilent: Bool

  /// The name that a table, or an index, of the projection has in the file now. Readers use the name that you give, as soon as
  /// this version is in use.
  public func table(_ name: String) -> String { names.real(name) }

  /// Records an event that the projection leads to, in the same transaction. While the projection is built from events that
  /// an earlier version has dealt with it records nothing: nobody is told twice.
  /// - Throws: ``StoreError``, as ``EventLog/record(_:options:in:)``.
  public func record<E: Event>(_ event: E, options: PublishOptions = .init()) throws(StoreError) {
    guard !isSilent else { return }
    _ = try log.append([try log.encode(event, options)], db)
  }
}

/// True inside ``Projection/apply(_:_:)``, where the log must not be written to behind the context's back.
enum ProjectionRun {
  @TaskLocal static var isInside = false

  static func check() throws(StoreError) {
    guard isInside else { return }
    throw StoreError(
      .invalidConfiguration,
      "a projection must not record or append by itself: use context.record, which is silent while the projection is rebuilt"
    )
  }
}

/// The names of a projection's tables: as it calls them, and as they are in the file while they are built.
final class ProjectionNames {
  private let version: Int
  private var reals: [String: String]
  private let isLive: Bool

  init(version: Int, reals: [String: String] = [:], isLive: Bool) {
    self.version = version
    self.reals = reals
    self.isLive = isLive
  }

  var all: [String: String] { reals }

  func real(_ name: String) -> String {
    if let real = reals[name] { return real }
    let real = "\(name)__v\(version)"
    if !isLive { reals[name] = real }
    return real
  }
}

/// What becomes of an event that a projection cannot take: it throws, or the event cannot be decoded.
public enum PoisonHandling: String, Sendable, CaseIterable {
  /// The projection stays before the event and tries again every 1 to 60 s. Inside appends: the append fails.
  case stop
  /// The event is left out, and noted.
  case skip
  /// The event is set aside with all later ones of its stream, in order, until somebody lets them be tried again.
  case hold
}
