import Foundation
import GRDB
import Testing
import Warren
import WarrenSupport

@testable import WarrenStore

/// With the tests that disturb their neighbours: it keeps the disk busy.
struct ManyEventsFaultTests {
  /// The long form: WARREN_TEST_EVENTS=10000000 swift test --filter ManyEventsFaultTests
  private static let long = ProcessInfo.processInfo.environment["WARREN_TEST_EVENTS"].flatMap { Int($0) }
  private static var count: Int { long ?? 200_000 }
  /// What the file and its log take on the disk at the most, in bytes.
  static var neededDisk: Int { count * 600 + (256 << 20) }

  static var hasRoom: Bool {
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: NSTemporaryDirectory())
    return (attributes?[.systemFreeSize] as? NSNumber)?.intValue ?? 0 >= neededDisk
  }

  private struct Costs {
    /// Microseconds of each.
    var append = 0.0
    var load = 0.0
    var page = 0.0
  }

  @Test(
    .enabled(
      if: hasRoom, "needs \(neededDisk >> 20) MB free in the temporary folder: set TMPDIR to a larger disk"))
  func theLastEventCostsWhatTheFirstDid() async throws {
    let folder = try Folder()
    let log = try folder.log()
    let parts = 10
    let streams = Self.count / parts / 10
    var costs: [Costs] = []
    for part in 0..<parts {
      costs.append(try await fill(log, streams: part * streams..<(part + 1) * streams))
    }
    let events = streams * 10 * parts
    #expect(try await log.head().rawValue == Int64(events))
    let line = costs.enumerated().map { part, cost in
      String(
        format: "%3d0 %%: append %6.1f, load of ten %6.1f, page of 1000 %8.1f µs", part + 1, cost.append, cost.load,
        cost.page)
    }
    print("\(events) events, \(fileSize(folder.file) >> 20) MB\n\(line.joined(separator: "\n"))")
    guard Self.long != nil, let last = costs.last else { return }
    // The first part fits into every cache; from the second on nothing may grow with the log.
    let early = costs[1]
    #expect(last.append < early.append * 2)
    #expect(last.load < early.load * 2)
    #expect(last.page < early.page * 2)
  }

  /// Streams of ten events that grow side by side, with names in no order: each append is somewhere else in the index.
  private func fill(_ log: EventLog, streams: Range<Int>) async throws -> Costs {
    var costs = Costs()
    let clock = ContinuousClock()
    let began = clock.now
    for start in stride(from: streams.lowerBound, to: streams.upperBound, by: 100) {
      let some = start..<min(start + 100, streams.upperBound)
      for version in 0..<10 {
        let appends = some.map { stream in
          StreamAppend(
            encoded: [EncodedEvent(version, type: "t.many")], to: name(stream), expecting: .version(Int64(version)))
        }
        try await log.append(appends)
      }
    }
    costs.append = (clock.now - began) / .microseconds(1) / Double(streams.count * 10)
    var random = SplitMix64(UInt64(streams.lowerBound) + 1)
    let loads = 200
    var loading = Duration.zero
    for _ in 0..<loads {
      let stream = name(random.int(0..<streams.upperBound))
      let start = clock.now
      let found = try await log.all(.init(stream: stream))
      loading += clock.now - start
      #expect(found.map(\.version) == Array(1...10))
    }
    costs.load = loading / .microseconds(1) / Double(loads)
    let pages = 20
    var reading = Duration.zero
    for _ in 0..<pages {
      let position = Int64(random.int(1..<max(2, streams.upperBound * 10 - 1000)))
      var iterator = log.events(.init(from: .position(LogPosition(rawValue: position)))).pages.makeAsyncIterator()
      let start = clock.now
      let page = try await iterator.next() ?? []
      reading += clock.now - start
      #expect(page.first?.position.rawValue == position)
    }
    costs.page = reading / .microseconds(1) / Double(pages)
    return costs
  }

  private func name(_ number: Int) -> StreamName {
    var mix = SplitMix64(UInt64(number))
    return StreamName(trusted: "s-" + String(mix.next(), radix: 36))
  }
}
