import CRabbitMQ
import Warren
import WarrenSupport

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
  static let highWater = 1 << 20
  /// So many deliveries in one look are a stream: the socket is then left alone for `nap` microseconds. Commands are heard all
  /// the same. (Confirms are not waited for: with them it cost more than it brought.)
  static let stream = 2
  static let nap = 200
  /// Frames read before writing gets its turn again.
  static let readBurst = 512

  var session: Session
  let configuration: RabbitMQConfiguration
  let clock: EngineClock
  let mailbox: Mailbox
  let listener: any ConnectionListener
  var heart: Watchdog.Heart?

  var out = OutBuffer()
  /// What is in it, of what the crash program wants to know.
  var unsent = (publishes: false, acknowledgements: false)
  var frame = warren_frame()
  var batch: [EngineCommand] = []
  /// In the last look at the socket.
  var deliveriesRead = 0
  var channels: [UInt16: EngineChannel] = [:]
  var numbers: [ChannelID: UInt16] = [:]
  var touched: [EngineChannel] = []
  var lastChannel: EngineChannel?
  var heartbeats: Heartbeats
  var blockedReason: String?
  var stalledSince: Nanoseconds?
  var goodbye: (sentAt: Nanoseconds, isAnswered: Bool)?
  var closeReason: RabbitMQError?

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

  func takeCommands() {
    mailbox.take(into: &batch)
    for command in batch { carryOut(command) }
    batch.removeAll(keepingCapacity: true)
  }

  func carryOut(_ command: EngineCommand) {
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

  static let channelIsGone = RabbitMQError(.channelClosed, "the channel is closed", isRetryable: true)

  func channel(_ id: ChannelID) -> EngineChannel? {
    numbers[id].flatMap { channels[$0] }
  }

  /// The lowest free number, because librabbitmq keeps memory for every number that was ever used.
  func freeNumber() -> UInt16? {
    var number: UInt16 = 1
    while channels[number] != nil {
      if Int(number) >= session.channelMax { return nil }
      number += 1
    }
    return number
  }

  func writeRequests(_ channel: EngineChannel) {
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

  // MARK: Time

  func lookAtClock() throws(RabbitMQError) {
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

  func sleep(isUrgent: Bool) throws(RabbitMQError) {
    if isUrgent || !mailbox.fallAsleep() { return }
    if deliveriesRead >= Self.stream {
      // The next ones are nearly there, and to be woken for each few of them costs more than they do.
      mailbox.wokeUp(drain: warren_wait_readable(mailbox.descriptor, Self.nap))
      return
    }
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

  func finish(_ error: RabbitMQError?) -> RabbitMQError? {
    let cause =
      error ?? closeReason
      ?? RabbitMQError(.connectionClosed, "the connection was closed from our side", isRetryable: true)
    for channel in channels.values.sorted(by: { $0.number < $1.number }) { remove(channel, because: cause) }
    return error
  }
}
