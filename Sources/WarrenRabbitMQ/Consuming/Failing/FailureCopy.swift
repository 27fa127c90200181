import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The properties of a message that failed, for the copy that is dead-lettered or tried again: the same id and properties, and
/// in headers where it came from, how often it was tried and why it failed.
enum FailureCopy {
  /// The most bytes of an error's text in a header.
  static let longestError = 512

  /// Nil when the original's properties cannot be read and written again as they are: a copy would lose some of them.
  static func properties(
    of message: IncomingMessage, from queue: String, round: Int, error: String, now: Date
  ) -> MessageProperties? {
    guard !message.isOversized, var properties = MessageProperties.exact(message.properties) else { return nil }
    properties.headers = properties.headers.filter { !Headers.isBrokers($0.key) && $0.key != Headers.sequence }
    func setOnce(_ name: String, _ value: HeaderValue) {
      if properties.headers[name] == nil { properties.headers[name] = value }
    }
    setOnce(Headers.originExchange, .string(message.exchange))
    setOnce(Headers.originRoutingKey, .string(message.routingKey))
    setOnce(Headers.firstFailure, .string(now.rfc3339))
    properties.headers[Headers.originQueue] = .string(queue)
    properties.headers[Headers.lastFailure] = .string(now.rfc3339)
    properties.headers[Headers.attempt] = .int(Int64(round))
    properties.headers[Headers.lastError] = .string(error.cut(toBytes: longestError))
    // The broker refuses a publish in another user's name, and an expired copy would be gone.
    if let user = properties.userID {
      properties.headers[Headers.originUser] = .string(user)
      properties.userID = nil
    }
    properties.expiration = nil
    properties.deliveryMode = 2
    if properties.type == nil, let type = EntityNames.type(ofExchange: message.exchange) { properties.type = type.name }
    return properties
  }

  static func request(
    exchange: String, routingKey: String, _ properties: MessageProperties, _ body: Data
  ) -> PublishRequest? {
    guard
      let head = try? PublishHead(
        exchange: exchange, routingKey: routingKey, properties: properties, bodySize: body.count)
    else { return nil }
    return PublishRequest(exchange: exchange, head: head, body: body)
  }
}

extension String {
  /// At most so many bytes of UTF-8, cut between characters.
  func cut(toBytes limit: Int) -> String {
    guard utf8.count > limit else { return self }
    var end = utf8.index(utf8.startIndex, offsetBy: limit - 3)
    while end > startIndex, end.samePosition(in: self) == nil { end = utf8.index(before: end) }
    return self[..<end] + "…"
  }
}
