package import Warren
import WarrenSupport

/// A channel in confirm mode on the publishing connection, opened when it is first used and shared by all that publish.
///
/// Every event stays here until the broker has settled it or its caller has given up. Events wait while there is no channel;
/// when a connection is lost, what was not confirmed comes back and is written to the next one, oldest first, with the same
/// id: the broker may have it already, so an event may be there twice, but is never missing.
package final class PublishingChannel: Sendable {
  private let connection: BrokerConnection
  private let configuration: RabbitMQConfiguration
  private let topology: Topology

  private enum Phase {
    case closed
    case opening
    case open(ChannelID, ChannelLife)
    /// Another one is opened when it has gone, and what was not settled on it has come back.
    case closing(ChannelLife)
    /// For good.
    case ended(String)
  }
  private struct State {
    var phase = Phase.closed
    /// Counts operations in the order in which they came.
    var lastNumber: UInt64 = 0
    /// Not with the connection.
    var parked: [PublishOperation] = []
    /// With more than these, it is time to look which of the parked have been given up.
    var parkedLimit = 1024
    /// Exchanges that are missing and being declared, with what waits for them.
    var repairs: [String: [PublishOperation]] = [:]
    var lastConfirm: ContinuousClock.Instant?
    var silence = ConfirmSilence()
    /// A channel that was closed before the task that opened it had come to say so.
    var over: ChannelLife?
    func isOver(_ life: ChannelLife) -> Bool { over === life }
  }
  private let state = Lock(State())
  private let pending = Watched(0)

  init(connection: BrokerConnection, topology: Topology, configuration: RabbitMQConfiguration) {
    self.connection = connection
    self.topology = topology
    self.configuration = configuration
  }

  package var window: Int { configuration.publishing.window }
  var timeout: Duration { configuration.publishing.timeout }
  var isConnected: Bool { connection.isOpen }
  /// When the broker last confirmed something.
  var lastConfirm: ContinuousClock.Instant? { state.withLock { $0.lastConfirm } }

  // MARK: Publishing

  /// Publishes one message and waits for its outcome. Its deadline counts from `start`, or from now.
  package func publish(_ request: PublishRequest, since start: ContinuousClock.Instant? = nil) async -> PublishOutcome {
    let spent = start.map { .now - $0 } ?? .zero
    let operation = PublishOperation(request, timeout: timeout, spent: spent, completion: .awaited)
    submit([operation])
    return explained(await operation.outcome())
  }

  /// Publishes messages of a batch; their outcomes go there.
  package func submit(_ requests: [(index: Int, request: PublishRequest)], to batch: PublishBatch) {
    let operations = requests.map { index, request in
      (index, PublishOperation(request, timeout: timeout, spent: nil, completion: .batch(batch, index: index)))
    }
    let publishes = operations.map(\.1)
    // Before anybody can settle one: a timer that is set afterwards would keep it for the whole timeout.
    Timers.shared.schedule(publishes.lazy.map { $0 as TimerEntry }, after: timeout)
    batch.track(operations)
    submit(publishes)
  }

  /// A deadline that passed while there was no connection says why there was none.
  func explained(_ outcome: PublishOutcome) -> PublishOutcome {
    guard case .notPublished(let text) = outcome, !connection.isOpen else { return outcome }
    return .notPublished("\(text); \(connection.notOpen("by then").message)")
  }

  private func submit(_ operations: [PublishOperation]) {
    let status = connection.status.value
    let isServed = status.isOpen && status.blockedReason == nil
    let (refused, silent) = state.withLock { state -> (String?, ChannelID?) in
      for operation in operations {
        state.lastNumber += 1
        operation.number = state.lastNumber
      }
      // Looked at first: what is given to a channel that is then closed may be in queues, and is written again.
      let silent = silentChannel(&state, isServed: isServed)
      return (pass(operations, &state), silent)
    }
    if let silent { replace(silent) }
    if let refused { for operation in operations { operation.abandon(because: refused) } }
    openIfNeeded()
  }

  /// Gives operations to the connection, or keeps them until there is one. Under the lock up to the mailbox, which never
  /// blocks, so that nobody overtakes. Returns why they can never be published, when that is so.
  private func pass(_ operations: [PublishOperation], _ state: inout State) -> String? {
    var operations = operations
    if !state.repairs.isEmpty {
      for operation in operations { state.repairs[operation.exchange]?.append(operation) }
      operations.removeAll { state.repairs[$0.exchange] != nil }
    }
    switch state.phase {
    case .open(let id, let life):
      if !connection.submit(.publish(id, operations, life)) { park(operations, &state) }
    case .closed, .opening, .closing: park(operations, &state)
    case .ended(let reason): return reason
    }
    return nil
  }

  private func park(_ operations: [PublishOperation], _ state: inout State) {
    state.parked.append(contentsOf: operations)
    guard state.parked.count > state.parkedLimit else { return }
    state.parked.removeAll { $0.isSettled }
    state.parkedLimit = max(1024, 2 * state.parked.count)
  }

  // MARK: The channel

  /// Opens the channel on a task of its own: whoever publishes waits for outcomes, not for this.
  private func openIfNeeded() {
    let isDue = state.withLock { state in
      guard case .closed = state.phase, !state.parked.isEmpty else { return false }
      state.phase = .opening
      return true
    }
    if isDue { Task { await open() } }
  }

  private func open() async {
    while true {
      do throws(RabbitMQError) {
        try await connection.whenOpen(timeout: timeout)
        let life = ChannelLife(of: self)
        let id = try await connection.openChannel(
          .publishing(window: configuration.publishing.window, bytes: configuration.publishing.windowBytes),
          listener: life)
        if begin(id, life) { return }
      } catch {
        if case .ended = connection.status.value.phase { return end(because: error.message) }
        if isUnwanted() { return }
        // A broker that lets no channel be opened is asked again, but not at full speed.
        if connection.isOpen { try? await Task.sleep(for: .milliseconds(500)) }
      }
    }
  }

  /// True when everything that waited has been given up: whoever publishes next opens the channel.
  private func isUnwanted() -> Bool {
    state.withLock { state in
      state.parked.removeAll { $0.isSettled }
      if state.parked.isEmpty { state.phase = .closed }
      return state.parked.isEmpty
    }
  }

  /// What waits goes first, oldest first. False when the channel has gone again already.
  private func begin(_ id: ChannelID, _ life: ChannelLife) -> Bool {
    state.withLock { state in
      if state.isOver(life) { return false }
      let operations = state.parked.filter { !$0.isSettled }.sorted { $0.number < $1.number }
      state.parked = []
      state.parkedLimit = 1024
      state.phase = .open(id, life)
      _ = pass(operations, &state)
      return true
    }
  }

  /// Something is published. The channel that is to be replaced for its silence, which is given nothing from here on.
  private func silentChannel(_ state: inout State, isServed: Bool) -> ChannelID? {
    guard isServed, case .open(let id, let life) = state.phase else {
      state.silence.interrupted()
      return nil
    }
    guard state.silence.published(.now) else { return nil }
    state.phase = .closing(life)
    return id
  }

  /// What is not settled on it comes back when it is closed, and goes to the next one.
  private func replace(_ id: ChannelID) {
    connection.note("the broker accepts nothing that is published on this channel: opening another one")
    connection.submit(.closeChannel(id, RequestSlot(timeout: .seconds(10))))
  }

  private func end(because reason: String) {
    let operations = state.withLock { state in
      state.phase = .ended(reason)
      defer { (state.parked, state.repairs) = ([], [:]) }
      return state.parked + state.repairs.values.joined()
    }
    for operation in operations { operation.abandon(because: reason) }
  }

  // MARK: What the engine says

  /// One channel from its opening to its end. Weak, because its owner keeps it.
  fileprivate final class ChannelLife: ChannelListener {
    private weak let owner: PublishingChannel?
    init(of owner: PublishingChannel) { self.owner = owner }
    func received(_ messages: [IncomingMessage]) {}
    func consumerCancelled(tag: String) {}
    func unsettled(_ operations: [PublishOperation]) {
      guard let owner else { return operations.forEach { $0.abandon(because: "the connection has ended") } }
      owner.takeBack(operations)
    }
    func refused(_ operations: [PublishOperation], _ error: RabbitMQError) {
      guard let owner else { return operations.forEach { $0.settle(.refused(error.message)) } }
      owner.refused(operations, error)
    }
    func madeProgress() {
      owner?.state.withLock { state in
        state.lastConfirm = .now
        state.silence.confirmed()
      }
    }
    func channelClosed(_ error: RabbitMQError) { owner?.closed(self) }
  }

  private func takeBack(_ operations: [PublishOperation]) {
    let reason = state.withLock { state -> String? in
      if case .ended(let reason) = state.phase { return reason }
      park(operations, &state)
      return nil
    }
    if let reason { for operation in operations { operation.abandon(because: reason) } }
    openIfNeeded()
  }

  private func closed(_ life: ChannelLife) {
    state.withLock { state in
      state.over = life
      switch state.phase {
      case .open(_, let current) where current === life, .closing(let current) where current === life:
        state.phase = .closed
      case .open, .closing, .closed, .opening, .ended: break
      }
    }
    openIfNeeded()
  }

  // MARK: Missing exchanges

  /// An exchange that is ours and was deleted is declared again, once for each event that met it missing; what else is refused
  /// ends so.
  private func refused(_ operations: [PublishOperation], _ error: RabbitMQError) {
    var rest: [PublishOperation] = []
    var repairs: [String: [PublishOperation]] = [:]
    for operation in operations {
      let isMissing = error.replyCode == 404 && configuration.topology == .declare
      if isMissing, EntityNames.type(ofExchange: operation.exchange) != nil, operation.claimRepair() {
        // One of them found no exchange; those before it may be in queues, and those behind it were thrown away.
        if operation !== operations.last { operation.becomesDoubtful() }
        repairs[operation.exchange, default: []].append(operation)
      } else {
        rest.append(operation)
      }
    }
    // What is missing or forbidden now was there when an earlier copy was written; what is wrong about an event was so then.
    let isNew =
      [403, 404].contains(error.replyCode) && error.exchangeInText != nil
      && !error.message.contains("access to topic '")
    for operation in rest {
      if isNew { operation.settleLastWrite(.refused(error.message)) } else { operation.settle(.refused(error.message)) }
    }
    for (exchange, operations) in repairs {
      let isFirst = state.withLock { state in
        defer { state.repairs[exchange, default: []].append(contentsOf: operations) }
        return state.repairs[exchange] == nil
      }
      if isFirst { Task { await repair(exchange) } }
    }
  }

  private func repair(_ exchange: String) async {
    var failure: RabbitMQError?
    if let type = EntityNames.type(ofExchange: exchange) {
      do throws(RabbitMQError) {
        try await topology.redeclare([.exchange(of: type)], within: timeout)
      } catch {
        failure = error
      }
    }
    let (operations, reason) = state.withLock { state -> ([PublishOperation], String?) in
      let operations = (state.repairs.removeValue(forKey: exchange) ?? []).sorted { $0.number < $1.number }
      if failure != nil { return (operations, nil) }
      let reason = pass(operations, &state)
      return (reason == nil ? [] : operations, reason)
    }
    for operation in operations {
      if let failure, !failure.isRetryable {
        operation.settleLastWrite(.refused(failure.message))
      } else {
        operation.abandon(because: failure?.message ?? reason ?? "the exchange \(exchange) is missing")
      }
    }
    openIfNeeded()
  }

  // MARK: Idleness

  /// How long an event of a batch may wait for its exchange to be declared. When one has waited in vain for a connection,
  /// those behind it do not wait again: one after the other, their deadlines would add up to hours.
  func patience(hasWaitedInVain: Bool) -> Duration {
    hasWaitedInVain && !connection.isOpen ? .zero : timeout
  }

  func count(_ change: Int) { pending.update { $0 += change } }

  /// Returns when no call of a publisher is under way.
  package func whenIdle(timeout: Duration) async {
    _ = await pending.wait(timeout: timeout) { $0 == 0 }
  }
}
