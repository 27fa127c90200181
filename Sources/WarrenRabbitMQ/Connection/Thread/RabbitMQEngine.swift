import CRabbitMQ
import Warren

/// The engine over librabbitmq: one OS thread owns one connection for its whole life. It runs no Swift tasks and no
/// user code. Callers reach it through the mailbox only.
package final class RabbitMQEngine: ConnectionEngine {
  private let host: RabbitMQConfiguration.Host
  private let configuration: RabbitMQConfiguration
  private let name: String
  private let clock: EngineClock
  private let listener: any ConnectionListener
  private let mailbox = Mailbox()

  package init(
    host: RabbitMQConfiguration.Host, configuration: RabbitMQConfiguration, name: String, clock: EngineClock = .system,
    listener: any ConnectionListener
  ) {
    self.host = host
    self.configuration = configuration
    self.name = name
    self.clock = clock
    self.listener = listener
  }

  package func start() {
    // The library decodes the tables of strangers' messages by recursion (without a bound before 0.14), and a frame holds
    // some 20,000 levels: the stack is made for that. Untouched, it costs address space only.
    startDetachedThread(name: "warren-amqp", stackSize: 64 << 20) { [self] in run() }
  }

  @discardableResult
  package func submit(_ command: EngineCommand) -> Bool {
    if mailbox.post(command) { return true }
    command.refuse()
    return false
  }

  private func run() {
    do throws(RabbitMQError) {
      let session = try Session.open(
        host: host, configuration: configuration, name: name, wait: ConnectWait(mailbox: mailbox, clock: clock))
      end(serve(session))
    } catch {
      if let goodbye = mailbox.goodbye { return end(goodbye.reason) }
      end(error)
    }
  }

  private func serve(_ session: consuming Session) -> RabbitMQError? {
    let loop = ConnectionLoop(
      session: session, configuration: configuration, clock: clock, mailbox: mailbox, listener: listener)
    let watched = Watchdog.shared.watch(
      descriptor: loop.emergencyDescriptor, limit: configuration.writeStallLimit, clock: clock)
    loop.heart = watched
    defer { Watchdog.shared.forget(watched) }
    return loop.run()
  }

  private func end(_ error: RabbitMQError?) {
    for command in mailbox.close() {
      if case .publish(_, let operations, let listener) = command { listener.unsettled(operations) }
      command.refuse()
    }
    listener.connectionEnded(error)
  }
}
