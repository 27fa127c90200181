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

  /// Makes sure of each entity, in order. What was declared once in this process is not asked for again.
  package func ensure(_ entities: [TopologyEntity]) async throws(RabbitMQError) {
    guard mode != .assume, !known.isSuperset(of: entities) else { return }
    await enter()
    defer { leave() }
    try await connection.whenOpen(timeout: timeout)
    for entity in entities where !known.contains(entity) {
      guard let request = entity.request(passive: mode == .verify) else { continue }
      try await send(request, for: entity)
      known.insert(entity)
    }
  }

  /// Declares what does not exist, and takes what exists as it is, whatever its settings.
  package func ensureMissing(_ entities: [TopologyEntity]) async throws(RabbitMQError) {
    await enter()
    defer { leave() }
    try await connection.whenOpen(timeout: timeout)
    for entity in entities {
      if let passive = entity.request(passive: true) {
        do throws(RabbitMQError) {
          try await send(passive, for: entity)
          continue
        } catch {
          guard error.code == .notFound else { throw error }
        }
      }
      if let request = entity.request(passive: false) { try await send(request, for: entity) }
    }
  }

  /// The entity may be gone: the next `ensure` asks the broker.
  package func forget(_ entities: [TopologyEntity]) { known.subtract(entities) }

  /// Any other request, under the same rule of one at a time.
  @discardableResult
  package func perform(_ request: Request) async throws(RabbitMQError) -> Reply {
    await enter()
    defer { leave() }
    try await connection.whenOpen(timeout: timeout)
    return try await send(request, for: nil)
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
