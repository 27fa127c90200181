import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

struct ReadTests {
  /// Compares each kind of query with the same question to an array.
  @Test func everyQueryIsWhatAFilterOfAllEventsIs() async throws {
    var random = SeededGenerator()
    let folder = try Folder()
    let log = try folder.log()
    let types: [EventType] = ["t.a", "t.b", "t.rare"]
    let streams = try (0..<7).map { try StreamName("s-\($0)") }
    for _ in 0..<40 {
      let events = (0..<random.int(1...80)).map { number in
        EncodedEvent(number, type: random.oneIn(60) ? types[2] : types[random.int(0...1)])
      }
      try await log.append([StreamAppend(encoded: events, to: random.pick(streams), publishes: random.oneIn(2))])
      if random.oneIn(3) { try await log.record(Happened(number: 0)) }
    }
    // Minutes pass, and the clock is once set back.
    var times: [(position: Int64, minute: Int64)] = []
    var minute: Int64 = 28_000_000
    for event in try await log.all() {
      if random.oneIn(20) { minute += 1 }
      if random.oneIn(100) { minute -= 2 }
      times.append((event.position.rawValue, minute))
    }
    try await log.database.write { [times] db in
      try db.execute(sql: "DELETE FROM warren_minutes")
      var last: Int64 = 0
      for (position, minute) in times {
        try db.execute(
          sql: "UPDATE warren_events SET recorded = ? WHERE position = ?", arguments: [minute * 60_000 + 7, position])
        if minute > last {
          try db.execute(sql: "INSERT INTO warren_minutes VALUES (?, ?)", arguments: [minute, position])
          last = minute
        }
      }
    }
    let all = try await log.all()
    #expect(all.count > 500, random.replay)
    for _ in 0..<300 {
      var query = EventQuery()
      if random.oneIn(2) { query.stream = random.pick(streams) }
      if random.oneIn(2) { query.types = Array(types.shuffled(using: &random).prefix(random.int(1...3))) }
      if random.oneIn(2) { query.direction = .backwards }
      if random.oneIn(2) { query.limit = random.int(0...50) }
      let some = random.pick(all)
      switch random.int(0...3) {
      case 0: query.start = .position(some.position)
      case 1 where query.stream != nil: query.start = .version(some.version)
      case 2: query.start = .time(some.recordedAt)
      default: query.start = .beginning
      }
      let isForwards = query.direction == .forwards
      var expected = all.filter { event in
        guard query.stream == nil || event.stream == query.stream else { return false }
        guard query.types.isEmpty || query.types.contains(event.type) else { return false }
        switch query.start {
        case .beginning: return true
        case .version(let version): return isForwards ? event.version >= version : event.version <= version
        case .position(let position): return isForwards ? event.position >= position : event.position <= position
        case .time(let time): return isForwards ? event.recordedAt >= time : event.recordedAt <= time
        }
      }
      if !isForwards { expected.reverse() }
      if let limit = query.limit { expected = Array(expected.prefix(limit)) }
      let found = try await log.all(query)
      #expect(found.map(\.position) == expected.map(\.position), "\(query), \(random.replay)")
    }
  }

  @Test func pagesAreBoundedAndReadingGoesOnBehindThem() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let events = (0..<2500).map { EncodedEvent($0) }
    try await log.append([StreamAppend(encoded: events, to: "a")])
    var sizes: [Int] = []
    var isFirst = true
    for try await page in log.events().pages {
      sizes.append(page.count)
      if isFirst { try await log.append([Happened(number: 1)], to: "b") }
      isFirst = false
    }
    #expect(sizes.reduce(0, +) == 2501)
    #expect(sizes.allSatisfy { $0 <= 1000 })
    let large = (0..<3).map { _ in
      EncodedEvent(metadata: EventMetadata(type: "t.large"), body: Data(count: 3 << 20))
    }
    try await log.append([StreamAppend(encoded: large, to: "large")])
    var pages = log.events(.init(types: ["t.large"])).pages.makeAsyncIterator()
    #expect(try await pages.next()?.count == 2)
    #expect(try await pages.next()?.count == 1)
    #expect(try await pages.next() == nil)
  }

  @Test func bodiesAreDecodedOnlyWhenAsked() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let broken = EncodedEvent(metadata: EventMetadata(type: "thing.happened"), body: Data("{}".utf8))
    try await log.append([StreamAppend(encoded: [broken], to: "a")])
    let event = try #require(try await log.all().first)
    #expect(event.isOne(of: Happened.self))
    #expect(!event.isOne(of: Announced.self))
    let error = await thrown(StoreError.self) { _ = try event.decoded(as: Happened.self) }
    #expect(error?.code == .undecodable)
    #expect(error?.message.contains("event 1 of stream a") == true)
  }

  @Test func streamsAreListedByNameAndPrefix() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for name in ["b-2", "a-1", "b-10", "c-1", "b-1"] {
      try await log.append([Happened(number: 1), Happened(number: 2)], to: try StreamName(name))
    }
    try await log.append([Happened(number: 3)], to: "b-2")
    #expect(try await log.streams().map(\.stream.name) == ["a-1", "b-1", "b-10", "b-2", "c-1"])
    #expect(try await log.streams(prefix: "b-").map(\.version) == [2, 2, 3])
    #expect(try await log.streams(prefix: "b-", after: "b-1", limit: 1).map(\.stream.name) == ["b-10"])
    #expect(try await log.streams(prefix: "b-", after: "a-1").map(\.stream.name) == ["b-1", "b-10", "b-2"])
    #expect(try await log.streams(prefix: "d").isEmpty)
  }

  @Test func aVersionNeedsAStream() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let error = await thrown(StoreError.self) { _ = try await log.all(.init(from: .version(3))) }
    #expect(error?.code == .invalidConfiguration)
  }

  @Test func publicEventsAreRelayedInOrderWithTheOthersAndPrivateOnesAreNot() async throws {
    let folder = try Folder()
    let log = try folder.log()
    for number in 0..<200 {
      switch number % 4 {
      case 0: try await log.record(EncodedRecord(number: number))
      case 1: try await log.append([Announced(number: number)], to: "a", options: .init(key: "k"))
      default: try await log.append([Happened(number: number)], to: "a")
      }
    }
    let broker = FakeBroker()
    try await withRelay(log, to: broker) { _ in
      try await expectEventually { broker.confirmedCount == 100 }
      try await expectEventually { try await log.status().checkpoint == log.status().head }
    }
    let announced = broker.came.filter { $0.metadata.type == "thing.announced" }.map(\.number)
    #expect(announced == (0..<200).filter { $0 % 4 == 1 })
    #expect(broker.came.allSatisfy { $0.metadata.type != "thing.happened" })
    #expect(try await log.status().backlogRows == 0)
    #expect(try await log.count("warren_events") == 150)
    #expect(try await log.count("warren_outbox") == 0)
  }

  /// A page that is there already is not given to a task that was cancelled.
  @Test func cancellationEndsAReadingWhosePagesAreThere() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append([StreamAppend(encoded: (0..<3500).map { EncodedEvent($0) }, to: "a")])
    let pages = Lock(0)
    let reading = Task {
      for try await _ in log.events().pages {
        pages.withLock { $0 += 1 }
        // Longer than the page behind takes.
        _ = try await Task { try await log.all().count }.value
        withUnsafeCurrentTask { $0?.cancel() }
      }
    }
    await #expect(throws: CancellationError.self) { try await reading.value }
    #expect(pages.withLock { $0 } == 1)
  }

  /// The page behind is given up in the middle of its reading, on the one connection that everybody shares.
  @Test func aReadingThatEndsEarlyDisturbsNobody() async throws {
    let folder = try Folder()
    let log = try EventLog(database: DatabaseQueue(path: folder.file), source: "tests")
    try await log.append([StreamAppend(encoded: (0..<3000).map { EncodedEvent($0) }, to: "a")])
    for number in 0..<100 {
      for try await event in log.events() {
        #expect(event.version == 1)
        break
      }
      try await log.append([Happened(number: number)], to: "b")
      #expect(try await log.version(of: "b") == Int64(number + 1))
    }
  }

  /// Events that are appended meanwhile are neither skipped nor seen twice.
  @Test func whatIsAppendedWhilePagesAreReadAheadIsSeenOnceOrLater() async throws {
    let folder = try Folder()
    let log = try folder.log()
    try await log.append([StreamAppend(encoded: (0..<1500).map { EncodedEvent($0) }, to: "a")])
    let writer = Task {
      for number in 0..<40 {
        try await log.append([StreamAppend(encoded: (0..<100).map { EncodedEvent(number * 100 + $0) }, to: "a")])
      }
    }
    for _ in 0..<5 {
      var last: Int64 = 0
      for try await event in log.events(.init(stream: "a")) {
        #expect(event.version == last + 1)
        last = event.version
      }
      #expect(last >= 1500)
    }
    try await writer.value
    #expect(try await log.all().count == 5500)
  }

  /// What stands in the columns of a damaged file: read as the row itself says it, or refused with the page.
  @Test func columnsOfOtherTypesAreReadAsTheRowSaysThem() async throws {
    var random = SeededGenerator()
    let replay = random.replay
    let folder = try Folder()
    let log = try folder.log()
    try await log.append([StreamAppend(encoded: [EncodedEvent(1), EncodedEvent(2)], to: "a")])
    let columns = RecordedEvent.columns.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    func value() -> DatabaseValue {
      switch random.int(0...7) {
      case 0: return random.pick([0, 1, -1, .min, .max]).databaseValue
      case 1: return random.pick([0.5, -1e300, .infinity]).databaseValue
      case 2: return Data().databaseValue
      case 3: return Data([0xff, 0x61, 0, 0xc3, 0x28]).databaseValue
      case 4: return "".databaseValue
      case 5: return "a\u{0}é\u{1F407}".databaseValue
      case 6: return String(repeating: "long", count: 2000).databaseValue
      default: return .null
      }
    }
    var (read, refused) = (0, 0)
    for _ in 0..<400 {
      let changed = (0..<random.int(1...4)).map { _ in (random.int(1...(columns.count - 1)), value()) }
      let isRead = try await log.database.write { db in
        // A table without types keeps everything as it is given.
        try db.execute(sql: "DROP TABLE IF EXISTS any_rows")
        try db.execute(sql: "CREATE TABLE any_rows (\(columns.joined(separator: ", ")))")
        try db.execute(sql: "INSERT INTO any_rows SELECT \(RecordedEvent.columns) FROM warren_events")
        for (column, value) in changed {
          try db.execute(sql: "UPDATE any_rows SET \(columns[column]) = ?", arguments: [value])
        }
        let statement = try RawStatement("SELECT \(RecordedEvent.columns) FROM any_rows", db)
        defer { statement.reset() }
        var last: RecordedEvent?
        while try statement.step() {
          let expected = Result { try EventRow.event(statement, isChecked: true) }
          let found = Result { try RecordedEvent(statement, after: last) }
          guard case .success(let event) = expected else {
            #expect(throws: (any Error).self, replay) { try found.get() }
            return false
          }
          let recorded = try found.get()
          #expect(recorded.metadata == event.metadata, replay)
          #expect(recorded.body == event.body && recorded.bodySize == event.body.count, replay)
          #expect(recorded.type == event.metadata.type && recorded.hasOwnID == event.hasOwnID, replay)
          #expect(recorded.stream.name == statement.text(EventRow.columnCount) ?? "", replay)
          #expect(recorded == (try RecordedEvent(statement)), replay)
          last = recorded
        }
        return true
      }
      if isRead { read += 1 } else { refused += 1 }
    }
    #expect(read > 100 && refused > 20, replay)
  }

  /// A database of the user's may be in another encoding.
  @Test func aFileInUTF16IsReadToo() async throws {
    let folder = try Folder()
    let queue = try DatabaseQueue(path: folder.file)
    try await queue.writeWithoutTransaction { db in
      try db.execute(sql: "PRAGMA encoding = 'UTF-16le'")
      try db.execute(sql: "CREATE TABLE mine (name TEXT)")
    }
    let log = try EventLog(database: queue, source: "tests")
    try await log.append([Happened(number: 1), Happened(number: 2)], to: "straße-1")
    for event in try await log.all() {
      #expect(event.metadata.source == "tests")
      #expect(event.metadata.id?.text.count == 36)
      #expect(event.stream == "straße-1")
      #expect(event.isOne(of: Happened.self))
    }
    #expect(try await log.all().map { try $0.decoded(as: Happened.self).number } == [1, 2])
  }
}

struct EncodedRecord: Event {
  static let eventType: EventType = "thing.recorded"
  var number: Int
}
