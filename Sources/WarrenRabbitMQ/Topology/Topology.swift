import Warren

/// Declares or verifies exchanges, queues and bindings, on the connection that never publishes: an alarm stops the
/// broker reading a connection that publishes, and a declare there would wait with everything else.
///
/// One request at a time on one channel, because the broker closes the channel with the first that it refuses.
package actor Topology {
  private let connection: BrokerConnection
  private let mode: TopologyMode
  private let timeout: Duration
  private var channel: ChannelID?
  private var known: Set<TopologyEntity> = []
  private var isBusy = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  package init(connection: BrokerConnection, configuration: RabbitMQConfiguration) {
    self.connection = connection
    self.mode = configuration.topology
    self.timeout = configuration.requestTimeout
  }

  /// Makes sure of each entity, in order. What was declared once in this process is not asked for again. Takes no longer
  /// than `limit`; nil is as long as the broker needs.
  package func ensure(_ entities: [TopologyEntity], within limit: Duration? = nil) async throws(RabbitMQError) {
    guard mode != .assume else { return }
    let start = ContinuousClock.now
    for entity in entities where !known.contains(entity) {
      guard let request = entity.request(passive: mode == .verify) else { continue }
      let rest = limit.map { $0 - (ContinuousClock.now - start) }
      try await perform(request, for: entity, unlessKnown: true, within: rest)
    }
  }

  /// Declares what does not exist, and takes what exists as it is, whatever its settings.
  package func ensureMissing(_ entities: [TopologyEntity]) async throws(RabbitMQError) {
    for entity in entities {
      if let passive = entity.request(passive: true) {
        do throws(RabbitMQError) {
          try await perform(passive, for: entity)
          continue
        } catch {
          guard error.code == .notFound else { throw error }
        }
      }
      if let request = entity.request(passive: false) { try await perform(request, for: entity) }
    }
  }

  /// Declares although it was declared before: somebody may have deleted it.
  package func redeclare(_ entities: [TopologyEntity], within limit: Duration? = nil) async throws(RabbitMQError) {
    forget(entities)
    try await ensure(entities, within: limit)
  }

  /// Declares exchanges that are gone, and binds again, which changes nothing where the binding is still there.
  /// - Returns: the names of the exchanges that were gone.
  package func restore(_ entities: [TopologyEntity]) async throws(RabbitMQError) -> [String] {
    var missing: [String] = []
    for entity in entities {
      switch entity {
      case .queue: continue
      case .exchange(let name), .fanoutExchange(let name):
        guard let passive = entity.request(passive: true), let request = entity.request(passive: false) else {
          continue
        }
        do throws(RabbitMQError) {
          try await perform(passive, for: entity)
        } catch {
          guard error.code == .notFound else { throw error }
          missing.append(name)
          try await perform(request, for: entity)
        }
      case .binding:
        if let request = entity.request(passive: false) { try await perform(request, for: entity) }
      }
    }
    return missing
  }

  /// The entity may be gone: the next `ensure` asks the broker.
  package func forget(_ entities: [TopologyEntity]) { known.subtract(entities) }

  /// Any other request, under the same rule of one at a time.
  @discardableResult
  package func perform(_ request: Request) async throws(RabbitMQError) -> Reply {
    try await perform(request, for: nil)
  }

  /// The caller may give up at any time; the request is carried through, because only its answer tells in what state the
  /// channel is.
  @discardableResult
  private func perform(
    _ request: Request, for entity: TopologyEntity?, unlessKnown: Bool = false, within limit: Duration? = nil
  ) async throws(RabbitMQError) -> Reply {
    let start = ContinuousClock.now
    try await connection.whenOpen(timeout: min(limit ?? timeout, timeout))
    let rest = limit.map { $0 - (ContinuousClock.now - start) }
    return try await patiently(within: rest, for: entity?.name ?? "\(request)") { () throws(RabbitMQError) in
      try await self.takeTurn(request, for: entity, unlessKnown: unlessKnown)
    }
  }

  private func takeTurn(
    _ request: Request, for entity: TopologyEntity?, unlessKnown: Bool
  ) async throws(RabbitMQError) -> Reply {
    await enter()
    defer { leave() }
    // Somebody before it may have wanted the same, or may have lost the connection.
    if unlessKnown, let entity, known.contains(entity) { return .done }
    let reply = try await sendThrough(request, for: entity)
    if unlessKnown, let entity { known.insert(entity) }
    return reply
  }

  /// Again when the connection breaks: all requests that are made here may be made twice.
  private func sendThrough(_ request: Request, for entity: TopologyEntity?) async throws(RabbitMQError) -> Reply {
    let start = ContinuousClock.now
    while true {
      try await connection.whenOpen(timeout: max(.zero, timeout - (.now - start)))
      let isOldChannel = channel != nil
      do throws(RabbitMQError) {
        return try await send(request, for: entity)
      } catch {
        let isLost =
          error.isOfConnection
          || error.code == .channelClosed && error.replyCode == nil && isOldChannel
        guard isLost, .now - start < timeout else { throw error }
      }
    }
  }

  @discardableResult
  private func send(_ request: Request, for entity: TopologyEntity?) async throws(RabbitMQError) -> Reply {
    let channel: ChannelID
    if let open = self.channel {
      channel = open
    } else {
      channel = try await connection.openChannel(.plain(maximumBodySize: 0))
      self.channel = channel
    }
    do throws(RabbitMQError) {
      return try await connection.request(request, on: channel)
    } catch {
      self.channel = nil
      guard let entity else { throw error }
      throw error.explained(entity: entity, mode: mode)
    }
  }

  // An actor alone lets the next call in at every await.
  private func enter() async {
    if !isBusy {
      isBusy = true
      return
    }
    await withCheckedContinuation { waiting.append($0) }
  }

  private func leave() {
    if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
  }
}
