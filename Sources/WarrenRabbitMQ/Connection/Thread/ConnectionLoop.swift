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

/// What the connection thread does between login and the end: take commands, write, read, look at the clock, sleep.
final class ConnectionLoop {
  /// More unsent bytes than this, and publishes wait; acknowledgements and requests still go in.
  private static let highWater = 1 << 20
  /// Frames read before writing gets its turn again.
  private static let readBurst = 512

  private var session: Session
  private let configuration: RabbitMQConfiguration
  private let clock: EngineClock
  private let mailbox: Mailbox
  private let listener: any ConnectionListener
  var heart: Watchdog.Heart?

  private var out = OutBuffer()
  /// What is in it, of what the crash program wants to know.
  private var unsent = (publishes: false, acknowledgements: false)
  private var frame = warren_frame()
  private var batch: [EngineCommand] = []
  private var channels: [UInt16: EngineChannel] = [:]
  private var numbers: [ChannelID: UInt16] = [:]
  private var touched: [EngineChannel] = []
  private var lastChannel: EngineChannel?
  private var heartbeats: Heartbeats
  private var blockedReason: String?
  private var stalledSince: Nanoseconds?
  private var goodbye: (sentAt: Nanoseconds, isAnswered: Bool)?
  private var closeReason: RabbitMQError?

  init(
    session: consuming Session, configuration: RabbitMQConfiguration, clock: EngineClock, mailbox: Mailbox,
    listener: any ConnectionListener
  ) {
    let interval = session.info.heartbeat == .zero ? configuration.heartbeat : session.info.heartbeat
    heartbeats = Heartbeats(interval: interval.nanoseconds, now: clock.now())
    self.session = session
    self.configuration = configuration
    self.clock = clock
    self.mailbox = mailbox
    self.listener = listener
  }

  var emergencyDescriptor: Int32 { session.emergencyDescriptor }

  /// Returns when the connection has ended: nil when it was closed from our side.
  func run() -> RabbitMQError? {
    listener.connectionOpened(session.info)
    do throws(RabbitMQError) {
      while true {
        heart?.busy(since: clock.now())
        takeCommands()
        writePublishes()
        try flush()
        let more = try readFrames()
        // What was just confirmed has made room.
        writePublishes()
        try flush()
        try lookAtClock()
        if let goodbye, goodbye.isAnswered { return finish(nil) }
        try sleep(isUrgent: more)
      }
    } catch {
      if goodbye != nil { return finish(nil) }
      return finish(error)
    }
  }

  // MARK: Commands

  private func takeCommands() {
    mailbox.take(into: &batch)
    for command in batch { carryOut(command) }
    batch.removeAll(keepingCapacity: true)
  }

  private func carryOut(_ command: EngineCommand) {
    switch command {
    case .open(let id, let kind, let listener, let slot):
      guard goodbye == nil, let number = freeNumber() else {
        let error = RabbitMQError(
          .channelClosed, "no channel can be opened: \(channels.count) of \(session.channelMax) are open",
          isRetryable: true)
        slot.settle(.failure(error))
        return listener.channelClosed(error)
      }
      let channel = EngineChannel(id: id, number: number, kind: kind, listener: listener)
      channels[number] = channel
      numbers[id] = number
      channel.requests.append(.open, reply: Method.channelOpenOK, slot: slot)
      writeRequests(channel)
    case .request(let id, let request, let slot):
      guard let channel = channel(id) else { return slot.settle(.failure(Self.channelIsGone)) }
      if let problem = MethodEncoder.problem(with: request) {
        return slot.settle(.failure(RabbitMQError(.invalidConfiguration, problem)))
      }
      channel.requests.append(.request(request), reply: MethodEncoder.reply(to: request), slot: slot)
      writeRequests(channel)
    case .publish(let id, let operations, let listener):
      guard let channel = channel(id) else { return listener.unsettled(operations) }
      channel.publishes.append(operations)
    case .acknowledge(let id, let acknowledgements):
      // The deliveries of a closed channel are back in their queues already.
      guard let channel = channel(id), case .open = channel.phase else { return }
      Faults.reached(.beforeAck)
      unsent.acknowledgements = true
      for acknowledgement in acknowledgements {
        MethodEncoder.append(acknowledgement, channel: channel.number, to: &out)
      }
    case .closeChannel(let id, let slot):
      guard let channel = channel(id) else { return slot.settle(.success(.done)) }
      channel.requests.append(.close, reply: Method.channelCloseOK, slot: slot)
      writeRequests(channel)
    case .close(let reason):
      guard goodbye == nil else { return }
      goodbye = (clock.now(), false)
      closeReason = reason
      MethodEncoder.appendConnectionClose(to: &out)
    }
  }

  private static let channelIsGone = RabbitMQError(.channelClosed, "the channel is closed", isRetryable: true)

  private func channel(_ id: ChannelID) -> EngineChannel? {
    numbers[id].flatMap { channels[$0] }
  }

  /// The lowest free number, because librabbitmq keeps memory for every number that was ever used.
  private func freeNumber() -> UInt16? {
    var number: UInt16 = 1
    while channels[number] != nil {
      if Int(number) >= session.channelMax { return nil }
      number += 1
    }
    return number
  }

  private func writeRequests(_ channel: EngineChannel) {
    while let (request, _) = channel.requests.next(now: clock.now()) {
      switch request {
      case .open: MethodEncoder.appendChannelOpen(channel.number, to: &out)
      case .confirmSelect: MethodEncoder.appendConfirmSelect(channel.number, to: &out)
      case .request(let request): MethodEncoder.append(request, channel: channel.number, to: &out)
      case .close:
        channel.phase = .closing
        MethodEncoder.appendChannelClose(channel.number, to: &out)
      }
    }
  }

  // MARK: Publishing

  private func writePublishes() {
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

  private func flush() throws(RabbitMQError) {
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

  // MARK: Reading

  /// True when there may be more to read.
  private func readFrames() throws(RabbitMQError) -> Bool {
    var count = 0
    while count < Self.readBurst, try session.nextFrame(&frame) {
      count += 1
      try handleFrame()
    }
    // A large frame takes a while to be whole: what tells that the broker lives is that bytes come.
    if session.hasReceived() { heartbeats.received(clock.now()) }
    for channel in touched {
      session.releaseBuffers(channel: channel.number)
      if channel.hasConfirmed {
        channel.hasConfirmed = false
        channel.listener.madeProgress()
      }
      let messages = channel.arrived
      if !messages.isEmpty {
        channel.arrived = []
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
  private func brokerClosed(_ channel: EngineChannel, _ error: RabbitMQError) {
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

  private func remove(_ channel: EngineChannel, because error: RabbitMQError) {
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

  // MARK: Time

  private func lookAtClock() throws(RabbitMQError) {
    let now = clock.now()
    switch heartbeats.action(now) {
    case .none: break
    case .send:
      MethodEncoder.appendHeartbeat(to: &out)
      // Counts as sent even when the kernel is full: one unsent heartbeat is enough.
      heartbeats.sent(now)
      try flush()
    case .peerIsDead:
      throw RabbitMQError(
        .connectionLost,
        "nothing came from the broker for two heartbeat intervals (2 × \(Duration.nanoseconds(Int64(heartbeats.interval)))): the connection is dead",
        isRetryable: true)
    }
    if let goodbye, now >= goodbye.sentAt + 1_000_000_000 { self.goodbye?.isAnswered = true }
    guard blockedReason == nil else { return }
    if let stalledSince, now >= stalledSince + configuration.writeStallLimit.nanoseconds {
      throw RabbitMQError(
        .connectionLost, "the broker has read nothing for \(configuration.writeStallLimit)", isRetryable: true)
    }
    for channel in channels.values where channel.requests.outstanding != nil {
      if now >= channel.requests.sentAt + configuration.requestTimeout.nanoseconds {
        // The reply may still come and the broker may have acted: only a new connection is in a known state.
        throw RabbitMQError(
          .connectionLost, "the broker has not answered a request within \(configuration.requestTimeout)",
          isRetryable: true)
      }
    }
  }

  private func sleep(isUrgent: Bool) throws(RabbitMQError) {
    if isUrgent || !mailbox.fallAsleep() { return }
    heart?.busy(since: nil)
    let now = clock.now()
    var wakeAt = heartbeats.nextAction
    if goodbye != nil { wakeAt = min(wakeAt, now + 100_000_000) }
    // While the broker says that it is blocked these deadlines stand still; counted here, the thread would not sleep.
    if blockedReason == nil {
      if let stalledSince { wakeAt = min(wakeAt, stalledSince + configuration.writeStallLimit.nanoseconds) }
      for channel in channels.values where channel.requests.outstanding != nil {
        wakeAt = min(wakeAt, channel.requests.sentAt + configuration.requestTimeout.nanoseconds)
      }
    }
    let ms = wakeAt <= now ? 0 : Int32(min((wakeAt - now) / 1_000_000 + 1, 60_000))
    var input = pollfd(fd: session.descriptor, events: session.awaits(hasOutput: out.count > 0), revents: 0)
    var wakeup = pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0)
    let ready = withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { descriptors in
      descriptors[0] = input
      descriptors[1] = wakeup
      let ready = poll(descriptors.baseAddress, 2, ms)
      (input, wakeup) = (descriptors[0], descriptors[1])
      return ready
    }
    mailbox.wokeUp(drain: ready > 0 && wakeup.revents != 0)
    if ready > 0, input.revents & Int16(POLLNVAL) != 0 {
      throw RabbitMQError(.connectionLost, "the socket was closed", isRetryable: true)
    }
  }

  // MARK: The end

  private func finish(_ error: RabbitMQError?) -> RabbitMQError? {
    let cause =
      error ?? closeReason
      ?? RabbitMQError(.connectionClosed, "the connection was closed from our side", isRetryable: true)
    for channel in channels.values.sorted(by: { $0.number < $1.number }) { remove(channel, because: cause) }
    return error
  }
}
