import Foundation
import Warren
import WarrenSupport

struct UserCreated: Event, Hashable {
  static let eventType: EventType = "user.created"
  var id: Int
  var name: String
}

extension UserCreated {
  static let john = UserCreated(id: 1, name: "John Doe")
}

/// A publisher that confirms everything and remembers it.
final class RecordingPublisher: EncodedPublisher {
  private let log = Lock<[EncodedEvent]>([])
  var published: [EncodedEvent] { log.withLock { $0 } }

  func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    log.withLock { $0 += events }
    return events.map { _ in .confirmed }
  }
}

/// Publishes as a Publisher does: collected inside a handler, at once outside.
/// - Returns: the id, and whether the event was collected.
@discardableResult
func publish(
  _ event: some Event, id: EventID? = nil, to publisher: RecordingPublisher
) async throws -> (id: EventID?, isCollected: Bool) {
  let (type, body) = try event.encoded()
  var metadata = EventMetadata(type: type, source: "tests")
  if let id { metadata.id = id }
  let encoded = EncodedEvent(metadata: metadata, body: body, hasOwnID: id == nil)
  if let scope = HandlerScope.current, let id = scope.collect(encoded, hasChosenID: id != nil, for: publisher) {
    return (id, true)
  }
  _ = await publisher.publish(encoded: [encoded])
  return (encoded.metadata.id, false)
}

func delivery(
  _ body: String = #"{"id":1,"name":"John Doe"}"#, type: EventType = "user.created", id: EventID? = nil,
  queue: String = "mailer.user.created"
) -> Delivery {
  Delivery(type: type, body: Data(body.utf8), queue: queue) { EventMetadata(id: id, type: type) }
}

func id(_ text: String) throws -> EventID { try EventID(text) }

struct SampleFailure: Error, Equatable, CustomStringConvertible {
  var description: String { "sample failure" }
}

extension HandlerResult {
  /// The outcome in words, to compare.
  var words: String {
    switch outcome {
    case .handled: "handled"
    case .ignored(let reason): "ignored: \(reason)"
    case .failed(let error): "failed: \(error)"
    case .retry(let delay, let reason): "retry after \(delay.map { "\($0)" } ?? "the policy's delay"): \(reason)"
    case .deadLetter(let reason): "dead letter: \(reason)"
    }
  }
  var collectedIDs: [EventID?] { collected.map(\.event.metadata.id) }
}

extension Data {
  var text: String { String(decoding: self, as: UTF8.self) }
}

/// The error of a throwing expression, when it is Warren's.
func warrenError(_ body: () throws -> Void) -> WarrenError? {
  do {
    try body()
    return nil
  } catch {
    return error as? WarrenError
  }
}

extension String {
  /// What may stand in a log line or a terminal as it is.
  var isOneHarmlessLine: Bool {
    unicodeScalars.allSatisfy {
      switch $0.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
      default: true
      }
    }
  }
}
