import GRDB
public import Warren
import WarrenSupport

/// The events of a query, read while they are used. It ends at the last event that there is; to wait for more, subscribe.
public struct StoredEvents: AsyncSequence, Sendable {
  let log: EventLog
  let query: EventQuery

  /// The same events, a page of up to 1,000 at a time: each page is one short read of the file.
  public var pages: Pages { Pages(log: log, query: query) }

  /// Begins reading.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pages: pages.makeAsyncIterator()) }

  /// One pass.
  public struct AsyncIterator: AsyncIteratorProtocol {
    var pages: Pages.AsyncIterator
    private var page: [RecordedEvent] = []
    private var index = 0

    init(pages: Pages.AsyncIterator) { self.pages = pages }

    /// The next event; nil behind the last.
    /// - Throws: ``StoreError``.
    public mutating func next() async throws -> RecordedEvent? {
      while index == page.count {
        guard let more = try await pages.next() else { return nil }
        (page, index) = (more, 0)
      }
      defer { index += 1 }
      return page[index]
    }
  }

  /// Pages of events.
  public struct Pages: AsyncSequence, Sendable {
    let log: EventLog
    let query: EventQuery

    /// Begins reading.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(log: log, query: query) }

    /// One pass.
    public struct AsyncIterator: AsyncIteratorProtocol {
      let log: EventLog
      let query: EventQuery
      private var reader: PageReader
      private var ahead: ReadAhead?

      init(log: EventLog, query: EventQuery) {
        self.log = log
        self.query = query
        reader = PageReader(query)
      }

      /// The next page, which is not empty; nil behind the last. The page behind it is read meanwhile.
      /// - Throws: ``StoreError``.
      public mutating func next() async throws -> [RecordedEvent]? {
        try query.validate()
        while !reader.isAtEnd {
          let page: ReadAhead.Page
          if let ahead {
            // What is there already needs nobody to wait, and so nobody to notice.
            try Task.checkCancellation()
            self.ahead = nil
            page = try await ahead.page()
          } else {
            page = try await ReadAhead.read(reader, log)
          }
          reader = page.behind
          if page.events.isEmpty { continue }
          if !reader.isAtEnd { ahead = ReadAhead(reader, log) }
          return page.events
        }
        return nil
      }
    }
  }
}

/// A page that is on its way. Whoever reads events one after the other spends as long on a page as SQLite does.
///
/// Not a task: it would begin on the processor that is at work on the page before, and wait there for its end.
private final class ReadAhead: Sendable {
  typealias Page = (events: [RecordedEvent], behind: PageReader)
  private enum State {
    case reading
    case awaited(CheckedContinuation<Void, Never>)
    case read(Result<Page, any Error>)
    case cancelled
  }
  private let state = Lock(State.reading)

  /// Nil when nobody is to begin reading now.
  init?(_ reader: PageReader, _ log: EventLog) {
    let gate = log.writeAheadLog.readers
    guard gate.enterNow() else { return nil }
    log.database.asyncRead { db in
      let page = Result<Page, any Error> {
        var behind = reader
        return (try behind.page(try db.get()), behind)
      }
      gate.leave()
      self.end(.read(page))
    }
  }

  static func read(_ reader: PageReader, _ log: EventLog) async throws -> Page {
    try await log.reading { db in
      var behind = reader
      return (try behind.page(db), behind)
    }
  }

  private func end(_ end: State) {
    let continuation = state.withLock { state -> CheckedContinuation<Void, Never>? in
      switch state {
      case .reading, .awaited:
        defer { state = end }
        if case .awaited(let continuation) = state { return continuation }
      case .read, .cancelled: break
      }
      return nil
    }
    continuation?.resume()
  }

  /// Once.
  func page() async throws -> Page {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          guard case .reading = state else { return true }
          state = .awaited(continuation)
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      end(.cancelled)
    }
    guard case .read(let page) = state.withLock({ $0 }) else { throw CancellationError() }
    do {
      return try page.get()
    } catch let error as DatabaseError {
      throw StoreError(error, doing: "reading the log")
    }
  }
}

extension EventLog {
  /// The events of a query.
  ///
  /// ```swift
  /// for try await event in log.events(.init(stream: "account-42", from: .version(3))) {
  ///   print(event.version, try event.decoded(as: AccountEvent.self))
  /// }
  /// ```
  public func events(_ query: EventQuery = .init()) -> StoredEvents { StoredEvents(log: self, query: query) }

  /// The version of a stream's last event; 0 when it has none.
  /// - Throws: ``StoreError``.
  public func version(of stream: StreamName) async throws -> Int64 {
    try stream.validate()
    return try await reading { try StreamWriter.version(of: stream, $0) }
  }

  /// The last position that was given.
  /// - Throws: ``StoreError``.
  public func head() async throws -> LogPosition {
    LogPosition(rawValue: try await reading { try ProjectionSession.head($0) })
  }

  /// The streams of the log in the order of their names.
  /// - Parameters:
  ///   - prefix: only those whose names begin so.
  ///   - after: only those behind this one: to read on.
  /// - Throws: ``StoreError``.
  public func streams(
    prefix: String = "", after: StreamName? = nil, limit: Int = 1000
  ) async throws -> [StreamSummary] {
    try OptionRules.check("limit", limit, 0...100_000)
    return try await reading { try StreamSummary.read(prefix: prefix, after: after, limit: limit, $0) }
  }

  func reading<R: Sendable>(_ body: @escaping @Sendable (Database) throws -> R) async throws -> R {
    do {
      // In turn with the other readers of this process, so that SQLite can write its log back in between.
      return try await writeAheadLog.readers.read { try await database.read(body) }
    } catch let error as DatabaseError {
      throw StoreError(error, doing: "reading the log")
    }
  }
}
