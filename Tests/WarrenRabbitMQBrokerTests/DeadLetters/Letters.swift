import BrokerFixture
import Foundation
import Warren

@testable import WarrenRabbitMQ

extension TestService {
  func dead() throws -> DeadLetters { try DeadLetters(rabbit, service: name) }

  /// Puts a letter there as Warren writes them.
  func putLetter(
    _ id: String?, _ type: EventType, cause: String = "handlerFailed", error: String = "no", body: String? = nil,
    minute: Int = 0, headers: [String: HeaderValue] = [:]
  ) async throws {
    let queue = try deadLetters(type)
    try await put(body ?? #"{"id":"\#(id ?? "")"}"#, into: queue) {
      $0.messageID = id
      $0.headers = headers.merging([
        "warren-dead-reason": .string(cause), "warren-last-error": .string(error),
        "warren-origin-exchange": .string(EntityNames.exchange(of: type)), "warren-origin-routing-key": "some.key",
        "warren-first-failed-at": "2026-01-01T00:00:00.000Z", "warren-attempt": 4,
        "warren-failed-at": .string("2026-01-01T00:\(minute < 10 ? "0" : "")\(minute):00.000Z"),
      ]) { given, _ in given }
    }
  }

  /// The ids in a queue that holds `count`, in order; they stay there.
  func ids(in queue: String, count: Int) async throws -> [String] {
    guard try await rabbit.waitForDepth(queue, count) else {
      throw QueueLook.Short(queue: queue, wanted: count, found: try await rabbit.depth(queue))
    }
    guard count > 0 else { return [] }
    return try await rabbit.look(at: queue, count: count).map { $0.properties?.messageID ?? "-" }
  }
}
