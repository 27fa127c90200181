import CRabbitMQ
import Warren

/// The engine over librabbitmq: one OS thread owns one connection for its whole life. It runs no Swift tasks and no
/// user code. Callers reach it through the mailbox only.
package final class RabbitMQEngine: ConnectionEngine {
  private let configuration: RabbitMQConfiguration
  private let name: String
  private let clock: EngineClock
  private let listener: any ConnectionListener
  private let mailbox = Mailbox()

  package init(
    configuration: RabbitMQConfiguration, name: String, clock: EngineClock = .system, listener: any ConnectionListener
  ) {
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

  package func submit(_ command: EngineCommand) {
    if !mailbox.post(command) { Self.refuse(command) }
  }

  private func run() {
    var failure: RabbitMQError?
    for host in configuration.hosts {
      do throws(RabbitMQError) {
        let session = try Session.open(host: host, configuration: configuration, name: name)
        failure = serve(session)
        end(failure)
        return
      } catch {
        failure = error
        // A broker that answered and refused says the same on its other nodes.
        if !error.isRetryable { break }
      }
    }
    end(failure ?? RabbitMQError(.connectFailed, "no hosts to connect to"))
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
    let left = mailbox.close()
    for command in left { Self.refuse(command) }
    listener.connectionEnded(error)
  }

  private static func refuse(_ command: EngineCommand) {
    let error = RabbitMQError(.connectionClosed, "the connection to the broker is closed", isRetryable: true)
    switch command {
    case .open(_, _, let listener, let slot):
      slot.settle(.failure(error))
      listener.channelClosed(error)
    case .request(_, _, let slot): slot.settle(.failure(error))
    case .closeChannel(_, let slot): slot.settle(.success(.done))
    case .publish(_, let operations):
      for operation in operations { operation.abandon(because: "the connection to the broker is closed") }
    case .acknowledge, .close: break
    }
  }
}
