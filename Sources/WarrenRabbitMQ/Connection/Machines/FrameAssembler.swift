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

  private enum State {
    case idle
    case header(Carrier)
    case body(Content, missing: UInt64)
  }
  private var state = State.idle
  let maximumBodySize: Int

  init(maximumBodySize: Int) { self.maximumBodySize = maximumBodySize }

  var isIdle: Bool { if case .idle = state { true } else { false } }

  mutating func begin(_ carrier: Carrier) throws(Violation) {
    guard isIdle else { throw Violation(text: "a new content began before the last one was whole") }
    state = .header(carrier)
  }

  /// A content is whole with its header when the body is empty: no body frame follows then.
  mutating func header(bodySize: UInt64, properties: UnsafeRawBufferPointer) throws(Violation) -> Content? {
    guard case .header(let carrier) = state else { throw Violation(text: "a content header came without its method") }
    var content = Content(carrier: carrier, properties: Array(properties), body: Data(), isOversized: false)
    if bodySize == 0 {
      state = .idle
      return content
    }
    if bodySize > UInt64(maximumBodySize) {
      content.isOversized = true
    } else {
      // A size is only a claim: memory for more than 1 MiB is taken as the bytes arrive.
      content.body.reserveCapacity(Int(min(bodySize, 1 << 20)))
    }
    state = .body(content, missing: bodySize)
    return nil
  }

  mutating func body(_ fragment: UnsafeRawBufferPointer) throws(Violation) -> Content? {
    guard case .body(var content, let missing) = state else {
      throw Violation(text: "a body frame came where none is due")
    }
    guard UInt64(fragment.count) <= missing else { throw Violation(text: "a body is longer than its header says") }
    // Out of the enum, so that appending does not copy what is already there.
    state = .idle
    if !content.isOversized, let start = fragment.baseAddress {
      content.body.append(start.assumingMemoryBound(to: UInt8.self), count: fragment.count)
    }
    let rest = missing - UInt64(fragment.count)
    if rest == 0 { return content }
    state = .body(content, missing: rest)
    return nil
  }
}
