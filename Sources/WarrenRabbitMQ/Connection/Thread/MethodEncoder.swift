import CRabbitMQ
import Warren

/// Writes method frames with librabbitmq's encoder.
struct MethodEncoder {
  /// The reply that a request is answered with is the next method of its class.
  static func reply(to request: Request) -> UInt32 { id(of: request) + 1 }

  static func id(of request: Request) -> UInt32 {
    switch request {
    case .declareExchange: Method.exchangeDeclare
    case .deleteExchange: Method.exchangeDelete
    case .declareQueue: Method.queueDeclare
    case .deleteQueue: Method.queueDelete
    case .bind: Method.queueBind
    case .unbind: Method.queueUnbind
    case .setPrefetch: Method.basicQos
    case .consume: Method.basicConsume
    case .cancel: Method.basicCancel
    }
  }

  /// Why this request cannot be written: a name beyond the protocol's short strings (AMQP 0-9-1 §4.2.5.3).
  static func problem(with request: Request) -> String? {
    let names: [String] =
      switch request {
      case .declareExchange(let name, let kind, _): [name, kind]
      case .deleteExchange(let name), .deleteQueue(let name), .cancel(let name): [name]
      case .declareQueue(let name, _, _, _, _, let arguments): [name] + arguments.keys
      case .bind(let queue, let exchange, let key), .unbind(let queue, let exchange, let key): [queue, exchange, key]
      case .setPrefetch: []
      case .consume(let queue, let tag): [queue, tag]
      }
    guard let long = names.first(where: { $0.utf8.count > 255 }) else { return nil }
    return "the name \"\(long.prefix(40))…\" has \(long.utf8.count) bytes; AMQP allows 255"
  }

  static func append(_ request: Request, channel: UInt16, to out: inout OutBuffer) {
    switch request {
    case .declareExchange(let name, let kind, let passive):
      withBytes(name, kind) { name, kind in
        var m = amqp_exchange_declare_t()
        (m.exchange, m.type, m.passive, m.durable) = (name, kind, passive ? 1 : 0, 1)
        append(Method.exchangeDeclare, &m, channel, &out)
      }
    case .deleteExchange(let name):
      withBytes(name) { name in
        var m = amqp_exchange_delete_t()
        m.exchange = name
        append(Method.exchangeDelete, &m, channel, &out)
      }
    case .declareQueue(let name, let passive, let durable, let exclusive, let autoDelete, let arguments):
      let table = FieldTable(arguments)
      withBytes(name) { name in
        var m = amqp_queue_declare_t()
        (m.queue, m.passive, m.durable) = (name, passive ? 1 : 0, durable ? 1 : 0)
        (m.exclusive, m.auto_delete, m.arguments) = (exclusive ? 1 : 0, autoDelete ? 1 : 0, table.table)
        withExtendedLifetime(table) { append(Method.queueDeclare, &m, channel, &out) }
      }
    case .deleteQueue(let name):
      withBytes(name) { name in
        var m = amqp_queue_delete_t()
        m.queue = name
        append(Method.queueDelete, &m, channel, &out)
      }
    case .bind(let queue, let exchange, let key):
      withBytes(queue, exchange, key) { queue, exchange, key in
        var m = amqp_queue_bind_t()
        (m.queue, m.exchange, m.routing_key) = (queue, exchange, key)
        append(Method.queueBind, &m, channel, &out)
      }
    case .unbind(let queue, let exchange, let key):
      withBytes(queue, exchange, key) { queue, exchange, key in
        var m = amqp_queue_unbind_t()
        (m.queue, m.exchange, m.routing_key) = (queue, exchange, key)
        append(Method.queueUnbind, &m, channel, &out)
      }
    case .setPrefetch(let count):
      var m = amqp_basic_qos_t()
      m.prefetch_count = UInt16(clamping: count)
      append(Method.basicQos, &m, channel, &out)
    case .consume(let queue, let tag):
      withBytes(queue, tag) { queue, tag in
        var m = amqp_basic_consume_t()
        (m.queue, m.consumer_tag) = (queue, tag)
        append(Method.basicConsume, &m, channel, &out)
      }
    case .cancel(let tag):
      withBytes(tag) { tag in
        var m = amqp_basic_cancel_t()
        m.consumer_tag = tag
        append(Method.basicCancel, &m, channel, &out)
      }
    }
  }

  /// AMQP 0-9-1 §4.2.2, the first bytes of a connection.
  static func appendProtocolHeader(to out: inout OutBuffer) {
    let header: [UInt8] = Array("AMQP".utf8) + [0, 0, 9, 1]
    header.withUnsafeBytes { out.append($0) }
  }

  static func appendConnectionStartOK(
    properties: amqp_table_t, mechanism: String, response: [UInt8], to out: inout OutBuffer
  ) {
    withBytes(mechanism, "en_US") { mechanism, locale in
      response.withUnsafeBufferPointer { response in
        var m = amqp_connection_start_ok_t()
        (m.client_properties, m.mechanism) = (properties, mechanism)
        (m.response, m.locale) = (amqp_bytes_t(response), locale)
        append(Method.connectionStartOK, &m, 0, &out)
      }
    }
  }

  static func appendConnectionTuneOK(
    channelMax: UInt16, frameMax: UInt32, heartbeat: UInt16, to out: inout OutBuffer
  ) {
    var m = amqp_connection_tune_ok_t()
    (m.channel_max, m.frame_max, m.heartbeat) = (channelMax, frameMax, heartbeat)
    append(Method.connectionTuneOK, &m, 0, &out)
  }

  static func appendConnectionOpen(virtualHost: String, to out: inout OutBuffer) {
    withBytes(virtualHost) { virtualHost in
      var m = amqp_connection_open_t()
      m.virtual_host = virtualHost
      append(Method.connectionOpen, &m, 0, &out)
    }
  }

  static func appendChannelOpen(_ channel: UInt16, to out: inout OutBuffer) {
    var m = amqp_channel_open_t()
    append(Method.channelOpen, &m, channel, &out)
  }

  static func appendConfirmSelect(_ channel: UInt16, to out: inout OutBuffer) {
    var m = amqp_confirm_select_t()
    append(Method.confirmSelect, &m, channel, &out)
  }

  static func appendChannelClose(_ channel: UInt16, to out: inout OutBuffer) {
    withBytes("closed by the client") { text in
      var m = amqp_channel_close_t()
      (m.reply_code, m.reply_text) = (200, text)
      append(Method.channelClose, &m, channel, &out)
    }
  }

  static func appendChannelCloseOK(_ channel: UInt16, to out: inout OutBuffer) {
    var m = amqp_channel_close_ok_t()
    append(Method.channelCloseOK, &m, channel, &out)
  }

  static func appendFlowOK(_ channel: UInt16, active: Bool, to out: inout OutBuffer) {
    var m = amqp_channel_flow_ok_t()
    m.active = active ? 1 : 0
    append(Method.channelFlowOK, &m, channel, &out)
  }

  static func appendConnectionClose(to out: inout OutBuffer) {
    withBytes("goodbye") { text in
      var m = amqp_connection_close_t()
      (m.reply_code, m.reply_text) = (200, text)
      append(Method.connectionClose, &m, 0, &out)
    }
  }

  static func appendConnectionCloseOK(to out: inout OutBuffer) {
    var m = amqp_connection_close_ok_t()
    append(Method.connectionCloseOK, &m, 0, &out)
  }

  static func append(_ acknowledgement: Acknowledgement, channel: UInt16, to out: inout OutBuffer) {
    switch acknowledgement {
    case .ack(let tag, let multiple):
      var m = amqp_basic_ack_t()
      (m.delivery_tag, m.multiple) = (tag, multiple ? 1 : 0)
      append(Method.basicAck, &m, channel, &out)
    case .reject(let tag, let requeue):
      var m = amqp_basic_reject_t()
      (m.delivery_tag, m.requeue) = (tag, requeue ? 1 : 0)
      append(Method.basicReject, &m, channel, &out)
    }
  }

  /// AMQP 0-9-1 §4.2.7: type 8, channel 0, no payload.
  static func appendHeartbeat(to out: inout OutBuffer) {
    let frame: [UInt8] = [8, 0, 0, 0, 0, 0, 0, 0xce]
    frame.withUnsafeBytes { out.append($0) }
  }

  private static func append(_ id: UInt32, _ method: UnsafeMutableRawPointer, _ channel: UInt16, _ out: inout OutBuffer)
  {
    // Names are short strings and tables small: far below the smallest frame that brokers agree to.
    out.append(atMost: 8192) { warren_encode_method($0, 8192, channel, id, method) }
  }

  private static func withBytes(_ a: String, _ body: (amqp_bytes_t) -> Void) {
    var a = a
    a.withUTF8 { body(amqp_bytes_t($0)) }
  }

  private static func withBytes(_ a: String, _ b: String, _ body: (amqp_bytes_t, amqp_bytes_t) -> Void) {
    withBytes(a) { a in withBytes(b) { b in body(a, b) } }
  }

  private static func withBytes(
    _ a: String, _ b: String, _ c: String, _ body: (amqp_bytes_t, amqp_bytes_t, amqp_bytes_t) -> Void
  ) {
    withBytes(a, b) { a, b in withBytes(c) { c in body(a, b, c) } }
  }
}

extension amqp_bytes_t {
  init(_ buffer: UnsafeBufferPointer<UInt8>) {
    self.init(len: buffer.count, bytes: UnsafeMutableRawPointer(mutating: buffer.baseAddress))
  }
}
