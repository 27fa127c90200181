import CRabbitMQ
import Warren
import WarrenSupport

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Publishes on their way into the buffer, and the buffer on its way to the broker.
extension ConnectionLoop {
  func writePublishes() {
    guard blockedReason == nil, goodbye == nil else { return }
    for channel in channels.values where channel.isPublishing {
      guard case .open = channel.phase else { continue }
      while out.count < Self.highWater,
        let (operation, tag) = channel.publishes.next(size: { $0.size }, isWanted: { claim($0) })
      {
        write(operation, tag: tag, channel: channel.number)
      }
    }
  }

  /// True when the operation is to be written now. Properties cannot be split over frames (AMQP 0-9-1 §4.2.3).
  private func claim(_ operation: PublishOperation) -> Bool {
    if operation.head.headerFrameSize > session.info.frameMax {
      operation.settle(
        .refused(
          "the headers and properties have \(operation.head.headerFrameSize) bytes; this broker's largest frame is \(session.info.frameMax)"
        ))
    }
    return operation.claim()
  }

  /// The method and header frames as the caller encoded them, with channel and delivery tag filled in, then the body, unless
  /// it is among them, in frames of the size that was agreed on (AMQP 0-9-1 §4.2.6: the size counts 8 bytes of frame around the payload).
  private func write(_ operation: PublishOperation, tag: UInt64, channel: UInt16) {
    let head = operation.head
    unsent.publishes = true
    out.append(atMost: head.bytes.count) { at in
      head.bytes.withUnsafeBufferPointer { bytes in
        if let base = bytes.baseAddress { at.update(from: base, count: bytes.count) }
      }
      warren_put_u16(at + 1, channel)
      warren_put_u16(at + head.headerFrameOffset + 1, channel)
      warren_put_u64(at + head.sequenceOffset, tag)
      if head.hasBody { warren_put_u16(at + head.bodyFrameOffset + 1, channel) }
      return head.bytes.count
    }
    guard let body = operation.body else { return }
    let largest = session.info.frameMax - 8
    body.withUnsafeBytes { body in
      var rest = body[...]
      while !rest.isEmpty {
        let part = UnsafeRawBufferPointer(rebasing: rest.prefix(largest))
        out.append(atMost: part.count + 8) { at in
          at[0] = 3
          warren_put_u16(at + 1, channel)
          warren_put_u32(at + 3, UInt32(part.count))
          if let base = part.baseAddress { memcpy(at + 7, base, part.count) }
          at[7 + part.count] = 0xce
          return part.count + 8
        }
        rest = rest.dropFirst(largest)
      }
    }
  }

  func flush() throws(RabbitMQError) {
    guard out.count > 0 else { return }
    let now = clock.now()
    if unsent.publishes { Faults.reached(.inSocketWrite) { session.sendHalf(out) } }
    switch session.send(&out) {
    case .done(let sent):
      if sent > 0 { heartbeats.sent(now) }
      stalledSince = nil
      if unsent.publishes { Faults.reached(.afterSocketWrite) }
      if unsent.acknowledgements { Faults.reached(.afterAck) }
      unsent = (false, false)
    case .kernelIsFull(let sent):
      if sent > 0 {
        heartbeats.sent(now)
        stalledSince = now
      } else if stalledSince == nil {
        stalledSince = now
      }
    case .failed(let end):
      throw RabbitMQError(
        .connectionLost, "the connection to the broker was lost while writing: \(end.text)", isRetryable: true)
    }
  }
}
