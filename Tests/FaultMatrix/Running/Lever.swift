import BrokerFixture
import Foundation
import WarrenRabbitMQ

/// A fault inside the broker, which begins when it is told and lasts exactly as long as it is to: `rabbitmqctl` takes a second
/// or more to start, so it waits in the broker from before the phase on.
struct Lever: Sendable {
  private let running: Task<String, any Error>
  private let (go, taken): (String, String)

  /// - Parameters:
  ///   - begin: Erlang expressions, with commas.
  ///   - end: the same.
  init(_ target: Target, folder: String, begin: String, lasts: Duration, end: String) {
    let (go, taken) = ("\(folder)/go", "\(folder)/taken")
    (self.go, self.taken) = (go, taken)
    for file in [go, taken] { try? FileManager.default.removeItem(atPath: file) }
    let expression = """
      Wait = fun W(0) -> exit(nobody_said_so);
                 W(N) -> case filelib:is_file("\(go)") of true -> ok; false -> timer:sleep(10), W(N - 1) end
             end,
      Wait(6000), \(begin), ok = file:write_file("\(taken)", <<>>), timer:sleep(\(Int(lasts / .milliseconds(1)))), \(end),
      io_lib:format("~b", [os:system_time(nanosecond)]).
      """
    running = Task { try await target.evaluate(expression) }
  }

  /// Begins, and returns when it has.
  func pull() async throws {
    guard FileManager.default.createFile(atPath: go, contents: nil) else {
      throw Session.Failed(description: "\(go) cannot be written")
    }
    let isTaken = try await eventually(timeout: .seconds(60)) { FileManager.default.fileExists(atPath: taken) }
    if !isTaken { throw Session.Failed(description: "the broker did not do it: \(try await running.value)") }
  }

  /// Waits for its end; when that was, by the clock of ``Shared/now``.
  func end() async throws -> Int64 {
    let text = try await running.value
    guard let wall = Int64(text.filter(\.isNumber)) else {
      throw Session.Failed(description: "the broker says \(text)")
    }
    let now = Shared.now
    return min(now, wall - (Int64(Date().timeIntervalSince1970 * 1e9) - now))
  }

  /// Lets it pass, when nobody needs it any more.
  func letGo() async {
    _ = FileManager.default.createFile(atPath: go, contents: nil)
    _ = await running.result
  }
}
