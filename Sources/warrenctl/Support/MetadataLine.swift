import Foundation
import Warren
import WarrenRabbitMQ

/// An event's metadata as one JSON object.
struct MetadataLine {
  let json: Data

  init(_ delivery: Delivery) {
    var fields = Self.fields(delivery.metadata)
    fields["routingKey"] = delivery.routingKey
    if delivery.isRedelivered { fields["redelivered"] = true }
    json = jsonLine(fields)
  }

  static func fields(_ metadata: EventMetadata) -> [String: Any] {
    var fields: [String: Any] = ["type": metadata.type.name]
    fields["id"] = metadata.id?.text
    fields["source"] = metadata.source
    fields["time"] = metadata.time?.rfc3339
    fields["key"] = metadata.key
    fields["subject"] = metadata.subject
    fields["correlationID"] = metadata.correlationID
    fields["causationID"] = metadata.causationID
    fields["traceparent"] = metadata.trace?.traceparent
    fields["contentType"] = metadata.contentType
    fields["contentEncoding"] = metadata.contentEncoding
    fields["declaredType"] = metadata.declaredType
    if !metadata.headers.isEmpty { fields["headers"] = metadata.headers.mapValues(plain) }
    return fields
  }

  /// As JSON has it.
  static func plain(_ value: HeaderValue) -> Any {
    switch value {
    case .string(let text): text
    case .int(let number): number
    // JSON has no infinities.
    case .double(let number): number.isFinite ? number : "\(number)"
    case .bool(let flag): flag
    case .bytes(let bytes): Data(bytes).base64EncodedString()
    case .timestamp(let date): date.rfc3339
    case .array(let values): values.map(plain)
    case .table(let entries): entries.mapValues(plain)
    case .null: NSNull()
    }
  }
}
