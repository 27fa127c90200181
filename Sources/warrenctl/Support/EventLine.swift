import Foundation
import Warren

/// One line of JSON that is to be published as it stands.
struct EventLine {
  struct Problem: Error {
    var text: String
  }
  private var body: Data
  private var key: String?

  static func parse(_ line: Data, keyField: String?) -> Result<EventLine, Problem> {
    guard let value = try? JSONSerialization.jsonObject(with: line, options: .fragmentsAllowed) else {
      return .failure(Problem(text: "is not valid JSON"))
    }
    guard let keyField else { return .success(EventLine(body: line, key: nil)) }
    guard let object = value as? [String: Any], let field = object[keyField] else {
      return .failure(Problem(text: "has no field \"\(keyField)\" for its key"))
    }
    switch field {
    case let text as String: return .success(EventLine(body: line, key: text))
    case let number as NSNumber: return .success(EventLine(body: line, key: number.stringValue))
    default: return .failure(Problem(text: "has a field \"\(keyField)\" that is no text and no number"))
    }
  }

  func encoded(type: EventType, source: String) -> EncodedEvent {
    var metadata = EventMetadata(type: type, source: source)
    metadata.key = key
    return EncodedEvent(metadata: metadata, body: body)
  }
}
