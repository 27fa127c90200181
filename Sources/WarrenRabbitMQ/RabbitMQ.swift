public import Logging
public import ServiceLifecycle
import Warren
import WarrenSupport

/// A RabbitMQ broker, as one service sees it: two connections, one that publishes and one that consumes, because an alarm
/// makes the broker stop reading a connection that publishes, acknowledgements included.
///
/// ```swift
/// let rabbit = try RabbitMQ(url: "amqp://guest:guest@localhost")
/// let publisher = Publisher(rabbit, source: "accounts")
/// try await ServiceGroup(services: [rabbit, …], gracefulShutdownSignals: [.sigterm], logger: logger).run()
/// ```
///
/// Put it before everything that uses it: a `ServiceGroup` stops its services in reverse order. For scripts and tests
/// see ``withRabbitMQ(_:isolation:_:)``.
public final class RabbitMQ: Service, CustomStringConvertible {
  package let configuration: RabbitMQConfiguration
  package let publishing: BrokerConnection
  package let consuming: BrokerConnection
  package let topology: Topology
  package let events: PublishingChannel
  package let copies: PublishingChannel
  let logger: Logger
  let probeTurns = ProbeTurns()
  private let subscribers = Lock<(next: Int, health: [Int: @Sendable () -> [ConsumerHealth]])>((0, [:]))

  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/invalidConfiguration``, naming the field and what is allowed.
  public convenience init(
    _ configuration: RabbitMQConfiguration, logger: Logger = Logger(label: "warren.rabbitmq")
  ) throws(RabbitMQError) {
    try self.init(configuration, logger: logger) { host, configuration, name, listener in
      RabbitMQEngine(host: host, configuration: configuration, name: name, listener: listener)
    }
  }

  /// A broker with default settings at `amqp://…`.
  /// - Throws: ``RabbitMQError`` with code ``RabbitMQError/Code/invalidURL``, naming the part that is wrong.
  public convenience init(url: String, logger: Logger = Logger(label: "warren.rabbitmq")) throws(RabbitMQError) {
    try self.init(RabbitMQConfiguration(url: url), logger: logger)
  }

  package init(
    _ configuration: RabbitMQConfiguration, logger: Logger, makeEngine: @escaping BrokerConnection.MakeEngine
  ) throws(RabbitMQError) {
    try configuration.validate()
    self.configuration = configuration
    self.logger = logger
    let name = configuration.connectionName ?? "warren"
    publishing = BrokerConnection(
      configuration: configuration, name: "\(name)/publish", logger: logger, makeEngine: makeEngine)
    consuming = BrokerConnection(
      configuration: configuration, name: "\(name)/consume", logger: logger, makeEngine: makeEngine)
    topology = Topology(connection: consuming, configuration: configuration)
    events = PublishingChannel(connection: publishing, topology: topology, configuration: configuration)
    copies = PublishingChannel(connection: publishing, topology: topology, configuration: configuration)
  }

  /// The text for messages and logs.
  public var description: String { "RabbitMQ(\(configuration.redactedURL))" }

  /// Connects, and stays until the task group shuts down gracefully or is cancelled. Then waits for publishes that are
  /// under way (up to the publish timeout) and closes both connections.
  ///
  /// A connection that cannot be opened or is lost is opened again, without end: what waits goes on then, or ends by its own
  /// deadline. ``health`` tells how it stands.
  /// - Throws: ``RabbitMQError`` with ``RabbitMQConfiguration/Startup/failFast`` only, when a connection cannot be opened at
  ///   first.
  public func run() async throws {
    publishing.start()
    consuming.start()
    let end = Watched<End?>(nil)
    await withTaskCancellationOrGracefulShutdownHandler {
      await withTaskGroup(of: Void.self) { group in
        for connection in [publishing, consuming] {
          group.addTask {
            let status = await connection.status.wait { if case .ended = $0.phase { true } else { false } }
            if case .ended(let error?) = status?.phase { end.update { $0 = $0 ?? .failed(error) } }
          }
        }
        group.addTask { _ = await end.wait { $0 != nil } }
        // Whichever ends first decides; the others follow once the connections are closed.
        await group.next()
        await Task { await self.close(after: end.value) }.value
        end.update { $0 = $0 ?? .asked }
        await group.waitForAll()
      }
    } onCancelOrGracefulShutdown: {
      end.update { $0 = $0 ?? .asked }
    }
    if case .failed(let error) = end.value { throw error }
  }

  private enum End: Sendable {
    case asked
    case failed(RabbitMQError)
  }

  private func close(after end: End?) async {
    if case .asked = end { await events.whenIdle(timeout: configuration.publishing.timeout) }
    // When one is given up the other goes too, and what is pending there hears why.
    let reason: RabbitMQError? = if case .failed(let error) = end { error } else { nil }
    await publishing.close(because: reason)
    await consuming.close(because: reason)
  }

  // MARK: Subscribers

  /// A subscriber that runs tells how it stands.
  func register(_ health: @escaping @Sendable () -> [ConsumerHealth]) -> Int {
    subscribers.withLock { subscribers in
      subscribers.next += 1
      subscribers.health[subscribers.next] = health
      return subscribers.next
    }
  }

  func unregister(_ number: Int) { subscribers.withLock { $0.health[number] = nil } }

  var consumers: [ConsumerHealth] {
    subscribers.withLock { $0.health.sorted { $0.key < $1.key }.map(\.value) }.flatMap { $0() }
  }

  /// Returns when both connections are open.
  /// - Throws: ``RabbitMQError`` when one cannot be opened within `timeout`: what the last try failed with.
  public func waitUntilConnected(timeout: Duration = .seconds(30)) async throws(RabbitMQError) {
    try await publishing.whenOpen(timeout: timeout)
    try await consuming.whenOpen(timeout: timeout)
  }
}

/// Runs `body` with a connected broker and closes the connections afterwards: for scripts and tests.
///
/// ```swift
/// try await withRabbitMQ(.init(url: "amqp://localhost")) { rabbit in
///   try await Publisher(rabbit, source: "script").publish(UserCreated(id: 1, name: "John Doe"))
/// }
/// ```
/// A broker that cannot be reached at first ends it, as with ``RabbitMQConfiguration/Startup/failFast``; a later loss is
/// recovered from.
/// - Throws: what `body` throws; ``RabbitMQError`` when the broker cannot be reached.
public func withRabbitMQ<R: Sendable>(
  _ configuration: RabbitMQConfiguration, isolation: isolated (any Actor)? = #isolation,
  _ body: (RabbitMQ) async throws -> R
) async throws -> R {
  var configuration = configuration
  configuration.startup = .failFast
  let rabbit = try RabbitMQ(configuration)
  let running = Task { try await rabbit.run() }
  do {
    // Each host takes three steps, and waits a little before the next one.
    try await rabbit.waitUntilConnected(
      timeout: (configuration.connectTimeout * 3 + .seconds(3)) * configuration.hosts.count)
    let result = try await body(rabbit)
    running.cancel()
    _ = await running.result
    return result
  } catch {
    running.cancel()
    // When the connection has ended the work, that is the reason to tell.
    if case .failure(let reason) = await running.result, !(reason is CancellationError), !(error is PublishError) {
      throw reason
    }
    throw error
  }
}
