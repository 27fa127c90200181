import Foundation
import Warren

/// The environment of a command: the worker's own, and the event's metadata.
enum EventEnvironment {
  static func variables(of delivery: Delivery) -> [String: String] {
    let metadata = delivery.metadata
    var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("WARREN_") }
    func set(_ name: String, _ value: String?) {
      // A zero byte would end the value.
      variables[name] = value.map { $0.replacing("\0", with: "\u{fffd}") }
    }
    set("WARREN_TYPE", delivery.type.name)
    set("WARREN_ID", metadata.id?.text)
    set("WARREN_SOURCE", metadata.source)
    set("WARREN_TIME", metadata.time?.rfc3339)
    set("WARREN_KEY", metadata.key)
    set("WARREN_SUBJECT", metadata.subject)
    set("WARREN_CORRELATION_ID", metadata.correlationID)
    set("WARREN_CAUSATION_ID", metadata.causationID)
    set("WARREN_ROUTING_KEY", delivery.routingKey)
    set("WARREN_QUEUE", delivery.queue)
    set("WARREN_ATTEMPT", "\(delivery.attempt)")
    set("WARREN_REDELIVERED", delivery.isRedelivered ? "1" : "0")
    set("TRACEPARENT", metadata.trace?.traceparent)
    set("WARREN_HEADERS", headers(metadata.headers))
    return variables
  }

  private static func headers(_ headers: [String: HeaderValue]) -> String {
    String(decoding: jsonLine(headers.mapValues(MetadataLine.plain)), as: UTF8.self)
  }
}

/// Finds a program as a shell does.
enum Program {
  static func find(_ name: String) -> URL? {
    if name.contains("/") { return isRunnable(name) ? URL(fileURLWithPath: name) : nil }
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return path.split(separator: ":").lazy.map { "\($0)/\(name)" }.first(where: isRunnable)
      .map { URL(fileURLWithPath: $0) }
  }

  private static func isRunnable(_ path: String) -> Bool {
    var isFolder = ObjCBool(false)
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
      && FileManager.default.isExecutableFile(atPath: path)
  }
}
