import Warren

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A message as bytes, for a store that keeps it: exchange, routing key, properties and body, each behind its length.
enum ParkedMessage {
  private static let version: UInt8 = 1

  static func encode(exchange: String, routingKey: String, properties: [UInt8], body: Data) -> Data {
    var data = Data([version])
    for part in [Array(exchange.utf8), Array(routingKey.utf8), properties] {
      withUnsafeBytes(of: UInt32(part.count).bigEndian) { data.append(contentsOf: $0) }
      data.append(contentsOf: part)
    }
    data.append(body)
    return data
  }

  /// Nil when these bytes are no such message.
  static func decode(_ data: Data) -> IncomingMessage? {
    guard data.first == version else { return nil }
    var rest = data.dropFirst()
    func part() -> Data? {
      guard rest.count >= 4 else { return nil }
      let count = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
      rest = rest.dropFirst(4)
      guard rest.count >= count else { return nil }
      defer { rest = rest.dropFirst(count) }
      return rest.prefix(count)
    }
    guard let exchange = part(), let routingKey = part(), let properties = part() else { return nil }
    return IncomingMessage(
      deliveryTag: 0, isRedelivered: true, exchange: String(decoding: exchange, as: UTF8.self),
      routingKey: String(decoding: routingKey, as: UTF8.self), properties: Array(properties), body: Data(rest),
      isOversized: false)
  }
}
