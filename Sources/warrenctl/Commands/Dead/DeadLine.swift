import Foundation
import Warren
import WarrenRabbitMQ

/// A dead letter as one JSON line.
enum DeadLine {
  /// For people and programs: `{"letter":{…},"metadata":{…},"event":…}`.
  static func shown(_ letter: DeadLetter) -> Data {
    jsonLine([
      ("letter", jsonLine(fields(letter))), ("metadata", jsonLine(MetadataLine.fields(letter.metadata))),
      ("event", Printer.singleLine(letter.body)),
    ])
  }

  /// The same and all bytes of the message, so that it can be made again.
  static func record(_ letter: DeadLetter, action: String, of owner: String, at time: Date) -> Data {
    let done = ["action": action, "at": time.rfc3339, "owner": owner]
    let bytes = [
      "body": letter.body.base64EncodedString(), "properties": Data(letter.properties).base64EncodedString(),
    ]
    return jsonLine([
      ("done", jsonLine(done)), ("letter", jsonLine(fields(letter))),
      ("metadata", jsonLine(MetadataLine.fields(letter.metadata))), ("event", Printer.singleLine(letter.body)),
      ("bytes", jsonLine(bytes)),
    ])
  }

  private static func fields(_ letter: DeadLetter) -> [String: Any] {
    var fields: [String: Any] = [
      "id": letter.id, "cause": letter.cause, "exchange": letter.exchange,
      "routingKey": letter.routingKey,
    ]
    fields["type"] = letter.type?.name
    if !letter.reason.isEmpty { fields["reason"] = letter.reason }
    fields["firstFailure"] = letter.firstFailure?.rfc3339
    fields["lastFailure"] = letter.lastFailure?.rfc3339
    if !letter.hasOwnID { fields["hasOwnID"] = false }
    if !letter.unreadable.isEmpty { fields["unreadable"] = letter.unreadable }
    return fields
  }
}
