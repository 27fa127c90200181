import CRabbitMQ
import Warren
import WarrenSupport

/// What the broker says, frame by frame.
extension ConnectionLoop {

  /// True when there may be more to read.
  func readFrames() throws(RabbitMQError) -> Bool {
    var count = 0
    while count < Self.readBurst, try session.nextFrame(&frame) {
      count += 1
      try handleFrame()
    }
    // A large frame takes a while to be whole: what tells that the broker lives is that bytes come.
    if session.hasReceived() { heartbeats.received(clock.now()) }
    deliveriesRead = 0
    for channel in touched {
      session.releaseBuffers(channel: channel.number)
      if channel.hasConfirmed {
        channel.hasConfirmed = false
        channel.listener.madeProgress()
      }
      let messages = channel.arrived
      if !messages.isEmpty {
        channel.arrived = []
        deliveriesRead += messages.count
        channel.listener.received(messages)
      }
    }
    touched.removeAll(keepingCapacity: true)
    return count == Self.readBurst
  }

  private func handleFrame() throws(RabbitMQError) {
    if frame.channel == 0 { return try handleConnectionFrame() }
    let channel: EngineChannel
    if let last = lastChannel, last.number == frame.channel {
      channel = last
    } else {
      // A number that we do not know is one that we have just closed: nothing on it matters any more.
      guard let known = channels[frame.channel] else { return session.releaseBuffers(channel: frame.channel) }
      channel = known
      lastChannel = known
      if !touched.contains(where: { $0 === known }) { touched.append(known) }
    }
    if touched.isEmpty { touched.append(channel) }

    do throws(FrameAssembler.Violation) {
      switch Int32(frame.type) {
      case AMQP_FRAME_METHOD:
        try handle(InboundMethod(frame.method, frame.decoded, names: &channel.names), on: channel)
      case AMQP_FRAME_HEADER:
        let properties = UnsafeRawBufferPointer(start: frame.bytes, count: frame.count)
        if let content = try channel.assembler.header(bodySize: frame.body_size, properties: properties) {
          handle(content, on: channel)
        }
      case AMQP_FRAME_BODY:
        let fragment = UnsafeRawBufferPointer(start: frame.bytes, count: frame.count)
        if let content = try channel.assembler.body(fragment) { handle(content, on: channel) }
        // A large body would otherwise stand in the library's memory a second time.
        if fragment.count > 16 << 10 { session.releaseBuffers(channel: channel.number) }
      default:
        break
      }
    } catch {
      throw RabbitMQError(.protocolViolation, "the broker broke the protocol: \(error.text)", isRetryable: true)
    }
  }

  private func handleConnectionFrame() throws(RabbitMQError) {
    defer { session.releaseBuffers(channel: 0) }
    guard Int32(frame.type) == AMQP_FRAME_METHOD else { return }
    if frame.method == Method.connectionCloseOK {
      goodbye?.isAnswered = true
      return
    }
    var names = NameMemo()
    switch InboundMethod(frame.method, frame.decoded, names: &names) {
    case .blocked(let reason):
      blockedReason = reason
      listener.connectionBlocked(reason)
    case .unblocked:
      blockedReason = nil
      stalledSince = nil
      listener.connectionBlocked(nil)
    case .connectionClosed(let code, let text):
      MethodEncoder.appendConnectionCloseOK(to: &out)
      _ = session.send(&out)
      throw RabbitMQError(
        .connectionLost, "the broker closed the connection: \(text)", isRetryable: true, replyCode: code)
    default:
      break
    }
  }

  private func handle(
    _ method: InboundMethod, on channel: EngineChannel
  ) throws(FrameAssembler.Violation) {
    switch method {
    case .content(let carrier):
      try channel.assembler.begin(carrier)
    case .confirm(let tag, let multiple, let accepted):
      Faults.reached(.beforeConfirm)
      if accepted { channel.hasConfirmed = true }
      channel.publishes.settle(tag, multiple: multiple, accepted: accepted) { operation, verdict in
        switch verdict {
        case .acked: operation.settle(.confirmed)
        case .returned(let reason): operation.settleLastWrite(.unroutable(reason))
        case .nacked:
          operation.settleLastWrite(
            .congested("a queue of \(operation.exchange) did not take the event: it is full or has no leader"))
        }
      }
    case .channelClosed(let code, let text):
      MethodEncoder.appendChannelCloseOK(channel.number, to: &out)
      brokerClosed(channel, RabbitMQError(channelClose: code, text: text))
    case .consumerCancelled(let tag):
      channel.listener.consumerCancelled(tag: tag)
    case .flow(let active):
      MethodEncoder.appendFlowOK(channel.number, active: active, to: &out)
    case .queueDeclared(let name, let messages, let consumers):
      answer(channel, .queue(name: name, messages: messages, consumers: consumers))
    case .other, .blocked, .unblocked, .connectionClosed:
      answer(channel, .done)
    }
  }

  private func answer(_ channel: EngineChannel, _ reply: Reply) {
    guard let (request, slot) = channel.requests.answered(by: frame.method) else { return }
    switch request {
    case .open where channel.isPublishing:
      channel.phase = .selecting
      channel.requests.append(.confirmSelect, reply: Method.confirmSelectOK, slot: slot)
      return writeRequests(channel)
    case .open, .confirmSelect:
      channel.phase = .open
    case .close:
      remove(channel, because: RabbitMQError(.channelClosed, "the channel was closed from our side", isRetryable: true))
    case .request:
      break
    }
    slot.settle(.success(reply))
    writeRequests(channel)
  }

  private func handle(_ content: FrameAssembler.Content, on channel: EngineChannel) {
    switch content.carrier {
    case .deliver(let tag, let redelivered, let exchange, let routingKey):
      guard case .open = channel.phase else { return }
      channel.arrived.append(
        IncomingMessage(
          deliveryTag: tag, isRedelivered: redelivered, exchange: exchange, routingKey: routingKey,
          properties: content.properties, body: content.body, isOversized: content.isOversized))
    case .returned(let code, let text, let exchange, let routingKey):
      guard let tag = PublishHead.sequence(in: content.properties) else { return }
      let place =
        exchange.isEmpty
        ? "the queue \"\(routingKey)\" does not exist"
        : "no queue is bound to \(exchange) for the routing key \"\(routingKey)\""
      channel.publishes.markReturned(tag, reason: "\(place) (\(code) \(text))")
    }
  }

  /// The broker has closed one channel and everything on it. A publishing channel is opened again: only the publish that is
  /// to blame ends.
  func brokerClosed(_ channel: EngineChannel, _ error: RabbitMQError) {
    guard channel.isPublishing, goodbye == nil, case .open = channel.phase else {
      return remove(channel, because: error)
    }
    for slot in channel.requests.removeAll() { slot.settle(.failure(error)) }
    // A routing key that is forbidden is not the fault of all that goes to its exchange.
    let named = error.message.contains("access to topic '") ? nil : error.exchangeInText
    // Those before the one that the broker closes for may be in queues already.
    let unconfirmed = channel.publishes.window.items
    let blamed = channel.publishes.channelClosed(isBlamed: named.map { name in { $0.exchange == name } })
    let culprits = Set(blamed.map(ObjectIdentifier.init))
    for operation in unconfirmed where !culprits.contains(ObjectIdentifier(operation)) { operation.becomesDoubtful() }
    if !blamed.isEmpty { channel.listener.refused(blamed, error) }
    channel.phase = .opening
    channel.assembler = FrameAssembler(maximumBodySize: channel.assembler.maximumBodySize)
    let slot = RequestSlot(timeout: configuration.requestTimeout)
    channel.requests.append(.open, reply: Method.channelOpenOK, slot: slot)
    writeRequests(channel)
  }

  func remove(_ channel: EngineChannel, because error: RabbitMQError) {
    channels[channel.number] = nil
    numbers[channel.id] = nil
    if lastChannel === channel { lastChannel = nil }
    for slot in channel.requests.removeAll() { slot.settle(.failure(error)) }
    for operation in channel.publishes.window.items { operation.becomesDoubtful() }
    let (written, unwritten) = channel.publishes.connectionLost()
    if !written.isEmpty || !unwritten.isEmpty { channel.listener.unsettled(written + unwritten) }
    if !channel.arrived.isEmpty {
      let messages = channel.arrived
      channel.arrived = []
      channel.listener.received(messages)
    }
    channel.listener.channelClosed(error)
  }
}
