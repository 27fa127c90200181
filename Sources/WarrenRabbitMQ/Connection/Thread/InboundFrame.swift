import CRabbitMQ

/// The methods that a broker sends, out of librabbitmq's structs. Strings are copied: the structs live in a pool that is
/// soon used again.
enum InboundMethod: Equatable {
  case content(FrameAssembler.Carrier)
  case confirm(tag: UInt64, multiple: Bool, accepted: Bool)
  case consumerCancelled(tag: String)
  case channelClosed(code: Int, text: String)
  case connectionClosed(code: Int, text: String)
  case blocked(reason: String)
  case unblocked
  case flow(active: Bool)
  case queueDeclared(name: String, messages: Int, consumers: Int)
  case other
}

extension InboundMethod {
  /// `names` remembers the last exchange and routing key: nearly all deliveries of a queue share them.
  init(_ id: UInt32, _ decoded: UnsafeMutableRawPointer?, names: inout NameMemo) {
    guard let decoded else {
      self = id == Method.connectionUnblocked ? .unblocked : .other
      return
    }
    switch id {
    case Method.basicDeliver:
      let m = decoded.assumingMemoryBound(to: amqp_basic_deliver_t.self).pointee
      self = .content(
        .deliver(
          tag: m.delivery_tag, redelivered: m.redelivered != 0, exchange: names.exchange(m.exchange),
          routingKey: names.routingKey(m.routing_key)))
    case Method.basicReturn:
      let m = decoded.assumingMemoryBound(to: amqp_basic_return_t.self).pointee
      self = .content(
        .returned(
          code: Int(m.reply_code), text: String(m.reply_text), exchange: String(m.exchange),
          routingKey: String(m.routing_key)))
    case Method.basicAck:
      let m = decoded.assumingMemoryBound(to: amqp_basic_ack_t.self).pointee
      self = .confirm(tag: m.delivery_tag, multiple: m.multiple != 0, accepted: true)
    case Method.basicNack:
      let m = decoded.assumingMemoryBound(to: amqp_basic_nack_t.self).pointee
      self = .confirm(tag: m.delivery_tag, multiple: m.multiple != 0, accepted: false)
    case Method.basicCancel:
      let m = decoded.assumingMemoryBound(to: amqp_basic_cancel_t.self).pointee
      self = .consumerCancelled(tag: String(m.consumer_tag))
    case Method.channelClose:
      let m = decoded.assumingMemoryBound(to: amqp_channel_close_t.self).pointee
      self = .channelClosed(code: Int(m.reply_code), text: String(m.reply_text))
    case Method.connectionClose:
      let m = decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee
      self = .connectionClosed(code: Int(m.reply_code), text: String(m.reply_text))
    case Method.connectionBlocked:
      let m = decoded.assumingMemoryBound(to: amqp_connection_blocked_t.self).pointee
      self = .blocked(reason: String(m.reason))
    case Method.connectionUnblocked:
      self = .unblocked
    case Method.channelFlow:
      self = .flow(active: decoded.assumingMemoryBound(to: amqp_channel_flow_t.self).pointee.active != 0)
    case Method.queueDeclareOK:
      let m = decoded.assumingMemoryBound(to: amqp_queue_declare_ok_t.self).pointee
      self = .queueDeclared(name: String(m.queue), messages: Int(m.message_count), consumers: Int(m.consumer_count))
    default:
      self = .other
    }
  }
}

/// The ids of the methods that Warren sends or receives: class in the upper 16 bits, method in the lower
/// (AMQP 0-9-1, "Class and method ids").
enum Method {
  static let connectionStart: UInt32 = 10 << 16 | 10
  static let connectionStartOK: UInt32 = 10 << 16 | 11
  static let connectionTune: UInt32 = 10 << 16 | 30
  static let connectionTuneOK: UInt32 = 10 << 16 | 31
  static let connectionOpen: UInt32 = 10 << 16 | 40
  static let connectionOpenOK: UInt32 = 10 << 16 | 41
  static let connectionClose: UInt32 = 10 << 16 | 50
  static let connectionCloseOK: UInt32 = 10 << 16 | 51
  static let connectionBlocked: UInt32 = 10 << 16 | 60
  static let connectionUnblocked: UInt32 = 10 << 16 | 61
  static let channelOpen: UInt32 = 20 << 16 | 10
  static let channelOpenOK: UInt32 = 20 << 16 | 11
  static let channelFlow: UInt32 = 20 << 16 | 20
  static let channelFlowOK: UInt32 = 20 << 16 | 21
  static let channelClose: UInt32 = 20 << 16 | 40
  static let channelCloseOK: UInt32 = 20 << 16 | 41
  static let exchangeDeclare: UInt32 = 40 << 16 | 10
  static let exchangeDelete: UInt32 = 40 << 16 | 20
  static let queueDeclare: UInt32 = 50 << 16 | 10
  static let queueDeclareOK: UInt32 = 50 << 16 | 11
  static let queueBind: UInt32 = 50 << 16 | 20
  static let queueDelete: UInt32 = 50 << 16 | 40
  static let queueUnbind: UInt32 = 50 << 16 | 50
  static let basicQos: UInt32 = 60 << 16 | 10
  static let basicConsume: UInt32 = 60 << 16 | 20
  static let basicCancel: UInt32 = 60 << 16 | 30
  static let basicPublish: UInt32 = 60 << 16 | 40
  static let basicReturn: UInt32 = 60 << 16 | 50
  static let basicDeliver: UInt32 = 60 << 16 | 60
  static let basicAck: UInt32 = 60 << 16 | 80
  static let basicReject: UInt32 = 60 << 16 | 90
  static let basicNack: UInt32 = 60 << 16 | 120
  static let confirmSelect: UInt32 = 85 << 16 | 10
  static let confirmSelectOK: UInt32 = 85 << 16 | 11
}

/// Gives the same `String` for the same bytes as last time, without allocating.
struct NameMemo {
  private var lastExchange = ""
  private var lastRoutingKey = ""

  mutating func exchange(_ bytes: amqp_bytes_t) -> String { Self.remember(bytes, &lastExchange) }
  mutating func routingKey(_ bytes: amqp_bytes_t) -> String { Self.remember(bytes, &lastRoutingKey) }

  private static func remember(_ bytes: amqp_bytes_t, _ last: inout String) -> String {
    let buffer = UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.len)
    let same =
      last.utf8.withContiguousStorageIfAvailable { old in
        old.elementsEqual(buffer)
      } ?? false
    if !same { last = String(bytes) }
    return last
  }
}

extension String {
  init(_ bytes: amqp_bytes_t) {
    self = String(decoding: UnsafeRawBufferPointer(start: bytes.bytes, count: bytes.len), as: UTF8.self)
  }
}
