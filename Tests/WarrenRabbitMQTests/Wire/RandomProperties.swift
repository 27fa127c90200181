import Foundation
import Warren

@testable import WarrenRabbitMQ

extension ReplayableRandom {
  /// Text as it stands in short strings: often empty, often as long as it may be.
  mutating func shortText() -> String {
    switch int(0...6) {
    case 0: ""
    case 1: String(repeating: "m", count: 255)
    case 2: String(repeating: "é", count: 127)
    default: text(upTo: 255)
    }
  }

  mutating func number() -> Int64 {
    pick([0, 1, -1, 127, 128, -128, 255, 256, 65_535, 65_536, .max, .min, Int64(bitPattern: next())])
  }

  mutating func double() -> Double {
    pick([
      0, -1.5, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
      Double.random(in: -1e9...1e9, using: &self),
    ])
  }

  /// With what no broker takes.
  mutating func anyDouble() -> Double { oneIn(4) ? pick([.infinity, -.infinity]) : double() }

  /// Any value that Warren can write. Timestamps have whole seconds, as on the wire.
  mutating func headerValue(depth: Int) -> HeaderValue {
    switch int(0...(depth > 0 ? 10 : 7)) {
    case 0: .string(text(upTo: 400))
    case 1: .string(String(repeating: "long ", count: int(0...120)))
    case 2: .int(number())
    case 3: .double(double())
    case 4: .bool(oneIn(2))
    case 5: .bytes(bytes(int(0...300)))
    case 6: .timestamp(Date(timeIntervalSince1970: Double(int(-70_000_000_000...250_000_000_000))))
    case 7: .null
    case 8: .array((0..<int(0...5)).map { _ in headerValue(depth: depth - 1) })
    default: .table(headers(upTo: 5, depth: depth - 1))
    }
  }

  mutating func headers(upTo count: Int, depth: Int) -> [String: HeaderValue] {
    var headers: [String: HeaderValue] = [:]
    for _ in 0..<int(0...count) {
      let key = shortText()
      if !key.isEmpty { headers[key] = headerValue(depth: depth) }
    }
    return headers
  }

  mutating func properties() -> MessageProperties {
    var p = MessageProperties()
    if oneIn(2) { p.contentType = shortText() }
    if oneIn(2) { p.contentEncoding = shortText() }
    if oneIn(2) { p.headers = headers(upTo: 6, depth: 4) }
    if oneIn(2) { p.deliveryMode = UInt8(int(0...255)) }
    if oneIn(2) { p.priority = UInt8(int(0...255)) }
    if oneIn(2) { p.correlationID = shortText() }
    if oneIn(2) { p.replyTo = shortText() }
    if oneIn(2) { p.expiration = shortText() }
    if oneIn(2) { p.messageID = shortText() }
    if oneIn(2) { p.timestamp = pick([0, 1, UInt64(Int64.max), .max, next()]) }
    if oneIn(2) { p.type = shortText() }
    if oneIn(2) { p.userID = shortText() }
    if oneIn(2) { p.appID = shortText() }
    if oneIn(2) { p.clusterID = shortText() }
    return p
  }

  /// Any value that another client can write.
  mutating func field(depth: Int) -> AMQPOracle.Field {
    switch int(0...(depth > 0 ? 18 : 15)) {
    case 0: .bool(oneIn(2))
    case 1: .i8(Int8(truncatingIfNeeded: number()))
    case 2: .u8(UInt8(truncatingIfNeeded: number()))
    case 3: .i16(Int16(truncatingIfNeeded: number()))
    case 4: .u16(UInt16(truncatingIfNeeded: number()))
    case 5: .i32(Int32(truncatingIfNeeded: number()))
    case 6: .u32(UInt32(truncatingIfNeeded: number()))
    case 7: .i64(number())
    case 8: .u64(UInt64(bitPattern: number()))
    case 9: .f32(Float(anyDouble()))
    case 10: .f64(anyDouble())
    case 11: .timestamp(UInt64(bitPattern: Int64(int(-70_000_000_000...250_000_000_000))))
    case 12, 13: .utf8(Array(text(upTo: 400).utf8))
    case 14: .bytes(bytes(int(0...300)))
    case 15: .void
    case 16: .array((0..<int(0...20)).map { _ in field(depth: depth - 1) })
    default: .table(entries(upTo: 5, depth: depth - 1))
    }
  }

  mutating func entries(upTo count: Int, depth: Int) -> [AMQPOracle.Entry] {
    var keys: Set<String> = []
    for _ in 0..<int(0...count) { keys.insert(shortText()) }
    return keys.sorted().map { AMQPOracle.Entry(key: $0, value: field(depth: depth)) }
  }

  mutating func foreignProperties() -> AMQPOracle.Properties {
    var p = AMQPOracle.Properties()
    for flag in AMQPOracle.Flag.allCases where oneIn(2) { p.texts[flag] = shortText() }
    if oneIn(2) { p.headers = entries(upTo: 20, depth: 4) }
    if oneIn(2) { p.deliveryMode = UInt8(int(0...255)) }
    if oneIn(2) { p.priority = UInt8(int(0...255)) }
    if oneIn(2) { p.timestamp = pick([0, 1, .max, next()]) }
    return p
  }
}
