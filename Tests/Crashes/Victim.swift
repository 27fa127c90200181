import Foundation
import WarrenStore
import WarrenSupport

/// A process of this program that is started and killed again and again.
struct Victim {
  struct Failed: Error, CustomStringConvertible {
    var description: String
  }
  let name: String
  let arguments: [String]
  let places: [Faults.Place]
  private var process: Process?
  private var place: Faults.Place?
  private var turn: Int
  private var reached: Set<Faults.Place> = []

  /// It begins at any of its places, so that short runs get to all of them in the course of time.
  init(name: String, arguments: [String], places: [Faults.Place], _ random: inout SplitMix) {
    self.name = name
    self.arguments = arguments
    self.places = places
    turn = Int.random(in: 0..<4 * places.count, using: &random)
  }

  /// Places at which it was never killed.
  var missed: [Faults.Place] { places.filter { !reached.contains($0) } }

  /// Armed, it kills itself at a named place, if it gets there in time; one time in four it is not.
  mutating func start(_ random: inout SplitMix, armed: Bool) async throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
    var arguments = [name] + arguments
    arguments += ["--seed", "\(random.next())"]
    process.arguments = arguments
    var environment = ProcessInfo.processInfo.environment
    place = nil
    let countdown = Int.random(in: 1...60, using: &random)
    if armed {
      turn += 1
      if turn % 4 != 0 {
        let place = places[(turn - turn / 4) % places.count]
        self.place = place
        environment["WARREN_CRASH_AT"] = "\(place.rawValue):\(countdown)"
      }
    }
    process.environment = environment
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    self.process = process
    if name == "reader", place == nil {
      // The queue must be there before the first event.
      let line = output.fileHandleForReading
      let word = await Task.detached { line.availableData }.value
      guard word.starts(with: Data("ready".utf8)) else { throw Failed(description: "the reader did not get ready") }
    }
  }

  /// Waits until it has killed itself, or kills it at a random moment. Says how.
  mutating func die(_ random: inout SplitMix) async throws -> String {
    guard let process else { throw Failed(description: "\(name) does not run") }
    let patience = Duration.milliseconds(Int.random(in: 100...900, using: &random))
    let end = ContinuousClock.now + (place == nil ? patience : .seconds(4))
    while process.isRunning, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(5)) }
    let didItself = !process.isRunning
    if !didItself { Foundation.kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    guard process.terminationReason == .uncaughtSignal, process.terminationStatus == SIGKILL else {
      throw Failed(description: "the \(name) ended by itself with status \(process.terminationStatus)")
    }
    self.process = nil
    if didItself, let place { reached.insert(place) }
    return "\(name) " + (didItself ? place.map { "at \($0.rawValue)" } ?? "?" : "at a random moment")
  }

  /// Asks it to finish its work, and waits.
  mutating func end() async throws {
    guard let process else { return }
    process.terminate()
    let end = ContinuousClock.now + .seconds(60)
    while process.isRunning, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(10)) }
    guard !process.isRunning, process.terminationStatus == 0 else {
      let how = process.isRunning ? "in 60 seconds" : "and ended with status \(process.terminationStatus)"
      throw Failed(description: "the \(name) did not finish its work \(how)")
    }
    self.process = nil
  }

  mutating func kill() {
    guard let process, process.isRunning else { return }
    Foundation.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }
}
