import Foundation
import Warren
import WarrenRabbitMQ
import WarrenStore

/// `warrenctl publish --store`: lines are recorded as they arrive, and delivered by a relay here or in the process that holds
/// the relay's lock.
struct StorePublish {
  var type: EventType
  var source: ServiceName
  var keyField: String?
  var log: EventLog
  var lines: Lines
  var longest: Int
  private(set) var recorded = 0
  private(set) var bad = 0
  private(set) var isInputBroken = false
  private var ranges: [ClosedRange<Int64>] = []

  init(type: EventType, source: ServiceName, keyField: String?, log: EventLog, lines: Lines, longest: Int) {
    self.type = type
    self.source = source
    self.keyField = keyField
    self.log = log
    self.lines = lines
    self.longest = longest
  }

  mutating func recordAll(_ interrupt: Interrupt) async throws {
    var progress = Progress()
    while !interrupt.isRaised {
      let batch: [Lines.Line]?
      do {
        batch = try await firstOf(lines.next, interrupt.wait) ?? nil
      } catch {
        isInputBroken = true
        say("warrenctl: \(error)")
        break
      }
      guard let batch else { break }
      var events: [EncodedEvent] = []
      for line in batch {
        guard let text = line.text else {
          complain(line.number, "is longer than \(longest) bytes")
          continue
        }
        switch EventLine.parse(text, keyField: keyField) {
        case .failure(let problem): complain(line.number, problem.text)
        case .success(let event): events.append(event.encoded(type: type, source: source.name))
        }
      }
      let positions = try await log.record(encoded: events)
      recorded += positions.count
      if let first = positions.first, let last = positions.last {
        if let before = ranges.last, before.upperBound + 1 == first.rawValue {
          ranges[ranges.count - 1] = before.lowerBound...last.rawValue
        } else {
          ranges.append(first.rawValue...last.rawValue)
        }
      }
      let count = recorded
      let rate = Int(Double(count) / progress.seconds)
      progress.show("\(grouped(count)) recorded, \(grouped(rate)) events/s")
    }
    progress.clear()
  }

  private mutating func complain(_ line: Int, _ problem: String) {
    bad += 1
    if bad <= 10 { say("line \(line) \(problem)") }
    if bad == 10 { say("further bad lines are only counted") }
  }

  /// Waits until all that was recorded here is confirmed; returns what is not, by reason.
  func waitForDelivery(_ watch: RelayWatch, patience: Duration, _ interrupt: Interrupt) async throws -> [String: Int] {
    guard let last = ranges.last?.upperBound else { return [:] }
    let status = try await watch.wait(patience: patience, interrupt) { $0.checkpoint.rawValue >= last }
    if status.checkpoint.rawValue < last { return ["not confirmed yet": Int(last - status.checkpoint.rawValue)] }
    // What is held may be let go within the patience: a queue may be about to be bound.
    let end = ContinuousClock.now + patience
    var held = try await heldHere()
    while !held.isEmpty, ContinuousClock.now < end, !interrupt.isRaised {
      try? await Task.sleep(for: .milliseconds(100))
      held = try await heldHere()
    }
    return held
  }

  private func heldHere() async throws -> [String: Int] {
    var counts: [String: Int] = [:]
    for held in try await log.held(limit: 100_000) where ranges.contains(where: { $0.contains(held.position.rawValue) })
    {
      counts[held.cause, default: 0] += 1
    }
    return counts
  }

  func report(_ held: [String: Int], isRelayed: Bool, json: Bool) -> ExitStatus {
    let waiting = held.values.reduce(0, +)
    if json {
      let confirmed = isRelayed ? max(0, recorded - waiting) : 0
      try? emit(Array(#"{"recorded":\#(recorded),"confirmed":\#(confirmed),"held":\#(waiting),"bad":\#(bad)}"#.utf8))
    }
    var parts = ["\(grouped(recorded)) recorded"]
    if isRelayed { parts.append(held.isEmpty ? "all confirmed" : "waiting: \(heldText(held))") }
    if bad > 0 { parts.append("\(grouped(bad)) bad lines") }
    say(parts.joined(separator: ", "))
    if isInputBroken { return .inputOutput }
    if !held.isEmpty { return .tryAgain }
    return bad > 0 ? .badData : .done
  }
}
