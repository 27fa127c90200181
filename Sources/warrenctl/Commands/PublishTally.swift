import Foundation
import Warren
import WarrenRabbitMQ

/// What became of the lines of one `warrenctl publish`, and the exit code that this means.
struct PublishTally {
  private(set) var confirmed = 0
  private var bad = 0
  private var unroutable = 0
  private var failed = 0
  private var maySucceedLater = 0
  private var isInputBroken = false
  private let started = ContinuousClock.now

  /// So many of each kind are named one by one.
  private static let named = 10

  mutating func bad(_ line: Int, _ problem: String) {
    bad += 1
    if bad <= Self.named { say("line \(line) \(problem)") }
    if bad == Self.named { say("further bad lines are only counted") }
  }

  mutating func inputFailed(_ error: any Error) {
    isInputBroken = true
    say("warrenctl: \(error)")
  }

  mutating func count(_ outcome: PublishOutcome, line: Int) {
    switch outcome {
    case .confirmed:
      confirmed += 1
      return
    case .unroutable(let text):
      unroutable += 1
      if unroutable == 1 { say("line \(line): \(text). Start a consumer first, or use --accept-unroutable") }
      return
    case .refused(let text):
      failed += 1
      name(line, "refused: \(text)")
    case .congested(let text), .notPublished(let text):
      maySucceedLater += 1
      name(line, "not published: \(text)")
    case .unknown(let text):
      maySucceedLater += 1
      name(line, "may have been published: \(text)")
    }
  }

  private func name(_ line: Int, _ text: String) {
    if failed + maySucceedLater <= Self.named { say("line \(line): \(text)") }
    if failed + maySucceedLater == Self.named { say("further failures are only counted") }
  }

  var status: ExitStatus {
    if failed > 0 || unroutable > 0 { return .unavailable }
    if isInputBroken { return .inputOutput }
    if maySucceedLater > 0 { return .tryAgain }
    return bad > 0 ? .badData : .done
  }

  func report(json: Bool) {
    let seconds = (ContinuousClock.now - started) / .seconds(1)
    if json {
      let milliseconds = Int(seconds * 1000)
      try? emit(
        Array(
          #"{"confirmed":\#(confirmed),"bad":\#(bad),"unroutable":\#(unroutable),"refused":\#(failed),"unsettled":\#(maySucceedLater),"ms":\#(milliseconds)}"#
            .utf8))
    }
    var parts = ["\(grouped(confirmed)) confirmed"]
    if unroutable > 0 { parts.append("\(grouped(unroutable)) with nobody bound") }
    if failed > 0 { parts.append("\(grouped(failed)) refused") }
    if maySucceedLater > 0 { parts.append("\(grouped(maySucceedLater)) not confirmed") }
    if bad > 0 { parts.append("\(grouped(bad)) bad lines") }
    say(parts.joined(separator: ", ") + " in \((seconds * 100).rounded() / 100) s")
  }
}
