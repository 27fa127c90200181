import ArgumentParser
import Foundation
import Warren
import WarrenStore

struct StoreStreams: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "streams", abstract: "The streams as JSON lines, by name.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Option(help: "Only those whose names begin so.")
  var prefix = ""

  @Option(help: "The most lines.")
  var limit: Int?

  func run() async throws {
    try await reporting {
      if let limit, limit < 0 { throw ValidationError("--limit is \(limit): allowed is 0 or more.") }
      let log = try Store.open(store)
      var (after, left) = (nil as StreamName?, limit ?? .max)
      while left > 0 {
        let page = try await log.streams(prefix: prefix, after: after, limit: min(left, 1000))
        for stream in page {
          try emitJSON([
            "stream": stream.stream.name, "version": stream.version, "position": stream.position.rawValue,
            "recordedAt": stream.recordedAt.rfc3339,
          ])
        }
        guard let last = page.last else { break }
        (after, left) = (last.stream, left - page.count)
      }
      return .done
    }
  }
}

struct StoreRead: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read", abstract: "Events of streams as JSON lines, in the order of the log.")

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @OptionGroup var events: EventOptions

  @Flag(help: "The latest first.")
  var backwards = false

  @Flag(help: "Only the events themselves, without what is known about them.")
  var bodies = false

  func run() async throws {
    try await reporting {
      let query = try events.query(backwards: backwards)
      let log = try Store.open(store)
      for try await event in log.events(query) { try emit(bodies ? Printer.singleLine(event.body) : event.line) }
      return .done
    }
  }
}

struct StoreState: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "state", abstract: "What the events of a stream have said last about each field, now or at a time.",
    discussion: """
      One JSON object. This tool knows no deciders: it lays the events' own fields over each other, in their order. Where that \
      is too simple, `store read --bodies --stream …` gives the events to a program of your own.
      """)

  @Option(help: "The store's file.", completion: .file())
  var store: String

  @Argument(help: "The stream.")
  var stream: String

  @Option(help: "Only what had happened by then, such as 2026-01-31T12:00:00Z.")
  var at: String?

  @Option(help: "Up to this version.")
  var version: Int64?

  @Option(help: "Up to this position of the log.")
  var position: Int64?

  func run() async throws {
    try await reporting {
      guard [at != nil, version != nil, position != nil].count(where: { $0 }) <= 1 else {
        throw ValidationError("Use only one of --at, --version and --position.")
      }
      let date = try at.map { try Moments.date($0, "--at") }
      let stream = try StreamName(stream as String)
      let log = try Store.open(store)
      var state: [String: Any] = [:]
      var last: RecordedEvent?
      for try await event in log.events(.init(stream: stream)) {
        if let date, event.time > date { break }
        if let version, event.version > version { break }
        if let position, event.position.rawValue > position { break }
        last = event
        let body = try? JSONSerialization.jsonObject(with: event.body)
        for (key, value) in body as? [String: Any] ?? [:] { state[key] = value }
      }
      guard let last else {
        say(
          "warrenctl: the stream \(stream) has no events\(at == nil && version == nil && position == nil ? "" : " up to then")"
        )
        return .badData
      }
      try emitJSON([
        "stream": stream.name, "version": last.version, "position": last.position.rawValue, "time": last.time.rfc3339,
        "lastType": last.type.name, "state": state,
      ])
      return .done
    }
  }
}

struct StoreVerify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Read everything: are versions and positions as they must be, is every body JSON, is the file whole?",
    discussion: """
      One JSON object with counts and a checksum over all events: a copy of the file with the same events has the same. Exit \
      code 65 when something is wrong.
      """)

  @Option(help: "The store's file.", completion: .file())
  var store: String

  func run() async throws {
    try await reporting {
      let log = try Store.open(store)
      var progress = Progress()
      let result = try await log.verify { count in progress.show("\(grouped(count)) events read") }
      progress.clear()
      try emitJSON([
        "events": result.events, "streams": result.streams, "bytes": result.bytes, "last": result.last?.rawValue ?? 0,
        "checksum": result.checksum, "problems": result.problems,
      ])
      return result.problems.isEmpty ? .done : .badData
    }
  }
}

struct StoreReaders: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "readers", abstract: "Who reads the store and how far: the relay, projections, subscriptions.",
    discussion: """
      JSON lines. `behind` is how many events that it wants a reader has not seen (counted up to 10,000; beyond, all positions \
      up to the head), and `age` how many seconds the oldest of them has waited. A projection has a line for each version: \
      `live` is the one that readers see, the others are being built. `problem` is what one stands before, and `poisoned` counts \
      the events that it could not take, by what became of them.
      """)

  @Option(help: "The store's file.", completion: .file())
  var store: String

  func run() async throws {
    try await reporting {
      let log = try Store.open(store)
      let head = try await log.status().head
      for reader in try await log.readers() where !reader.name.hasPrefix("projection ") {
        try emitJSON([
          "reader": reader.name, "position": reader.position.rawValue, "head": head.rawValue, "events": reader.events,
          "behind": reader.lag.events, "age": seconds(reader.lag.age),
          "movedAt": reader.movedAt.rfc3339, "retaining": reader.isRetaining, "lapsed": reader.hasLapsed,
        ])
      }
      for projection in try await log.projections() {
        var fields: [String: Any] = [
          "reader": "projection \(projection.name)", "version": projection.version, "live": projection.isLive,
          "inline": projection.isInline, "position": projection.position.rawValue, "head": projection.head.rawValue,
          "behind": projection.lag.events, "age": seconds(projection.lag.age), "poisoned": projection.poisoned,
        ]
        fields["problem"] = projection.problem
        try emitJSON(fields)
      }
      return .done
    }
  }

  /// With milliseconds.
  private func seconds(_ time: Duration) -> Double { (time / .milliseconds(1)).rounded() / 1000 }
}
