#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Puts the content of one channel together: a method that has content, its header frame, and body frames until the
/// body is whole (AMQP 0-9-1 §4.2.6). Frames of other channels may come in between; each channel has its own assembler.
struct FrameAssembler {
  /// The methods that have content.
  enum Carrier: Equatable {
    case deliver(tag: UInt64, redelivered: Bool, exchange: String, routingKey: String)
    case returned(code: Int, text: String, exchange: String, routingKey: String)
  }
  struct Content: Equatable {
    var carrier: Carrier
    var properties: [UInt8]
    var body: Data
    var isOversized: Bool
  }
  /// The peer broke the protocol; the connection must end.
  struct Violation: Error, Equatable { var text: String }

  private enum Phase { case idle, header, body }
  // Apart from each other, because whatever is in one value is copied when one of its parts is looked at: for every message.
  private var phase = Phase.idle
  private var carrier: Carrier?
  private var properties: [UInt8] = []
  private var body = Data()
  private var missing: UInt64 = 0
  private var isOversized = false
  let maximumBodySize: Int

  init(maximumBodySize: Int) { self.maximumBodySize = maximumBodySize }

  var isIdle: Bool { phase == .idle }

  mutating func begin(_ carrier: Carrier) throws(Violation) {
    guard isIdle else { throw Violation(text: "a new content began before the last one was whole") }
    self.carrier = carrier
    phase = .header
  }

  /// A content is whole with its header when the body is empty: no body frame follows then.
  mutating func header(bodySize: UInt64, properties: UnsafeRawBufferPointer) throws(Violation) -> Content? {
    guard phase == .header else { throw Violation(text: "a content header came without its method") }
    self.properties = Array(properties)
    missing = bodySize
    isOversized = bodySize > UInt64(maximumBodySize)
    phase = .body
    return bodySize == 0 ? whole() : nil
  }

  mutating func body(_ fragment: UnsafeRawBufferPointer) throws(Violation) -> Content? {
    guard phase == .body else { throw Violation(text: "a body frame came where none is due") }
    guard UInt64(fragment.count) <= missing else { throw Violation(text: "a body is longer than its header says") }
    if !isOversized, let start = fragment.baseAddress {
      if body.isEmpty, fragment.count == missing {
        body = Data(bytes: start, count: fragment.count)
      } else {
        // A size is only a claim: memory for more than 1 MiB is taken as the bytes arrive.
        if body.isEmpty { body.reserveCapacity(Int(min(missing, 1 << 20))) }
        body.append(start.assumingMemoryBound(to: UInt8.self), count: fragment.count)
      }
    }
    missing -= UInt64(fragment.count)
    return missing == 0 ? whole() : nil
  }

  private mutating func whole() -> Content? {
    phase = .idle
    defer {
      properties = []
      body = Data()
    }
    return carrier.take().map {
      Content(carrier: $0, properties: properties, body: body, isOversized: isOversized)
    }
  }
}
