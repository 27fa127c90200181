import Warren
import WarrenSupport

/// Asks for the addresses of names, with a deadline that the system's own call does not have: it runs on a thread of its
/// own, which goes on when nobody waits any more. Who asks for a name that is being asked for waits for the same answer,
/// so that a dead name server costs one thread for each name and no more.
final class NameLookups: Sendable {
  typealias Host = RabbitMQConfiguration.Host
  typealias Answer = Result<[SocketAddress], NameProblem>

  static let shared = NameLookups { SocketAddress.all(of: $0) }

  private final class Lookup: Sendable {
    let state = Lock<(answer: Answer?, waiting: [@Sendable () -> Void])>((nil, []))

    func whenDone(_ wake: @escaping @Sendable () -> Void) {
      let isDone = state.withLock { state in
        if state.answer == nil { state.waiting.append(wake) }
        return state.answer != nil
      }
      if isDone { wake() }
    }

    func finish(_ answer: Answer) {
      let waiting = state.withLock { state in
        state.answer = answer
        defer { state.waiting = [] }
        return state.waiting
      }
      for wake in waiting { wake() }
    }
  }
  private let running = Lock<[Host: Lookup]>([:])
  private let ask: @Sendable (Host) -> Answer

  init(_ ask: @escaping @Sendable (Host) -> Answer) { self.ask = ask }

  /// - Throws: ``RabbitMQError`` when the name has no address or the answer does not come within `timeout`.
  func addresses(of host: Host, timeout: Duration, wait: ConnectWait) throws(RabbitMQError) -> [SocketAddress] {
    if let address = SocketAddress.literal(host) { return [address] }
    let deadline = wait.clock.now() + timeout.nanoseconds
    let lookup = join(host)
    // The mailbox lives until the answer is there, however late.
    lookup.whenDone { [mailbox = wait.mailbox] in mailbox.wake() }
    while true {
      switch lookup.state.withLock({ $0.answer }) {
      case .success(let addresses): return addresses
      case .failure(let problem):
        throw RabbitMQError(
          .connectFailed, "the host name \"\(host.name)\" gives no address: \(problem.text). Check how it is spelt",
          isRetryable: true)
      case nil:
        guard try wait.wait(until: deadline) else {
          throw RabbitMQError(
            .connectFailed,
            "no address was found for the host name \"\(host.name)\" within \(timeout): the name server is silent",
            isRetryable: true)
        }
      }
    }
  }

  private func join(_ host: Host) -> Lookup {
    let (lookup, isNew) = running.withLock { running -> (Lookup, Bool) in
      if let lookup = running[host] { return (lookup, false) }
      let lookup = Lookup()
      running[host] = lookup
      return (lookup, true)
    }
    guard isNew else { return lookup }
    startDetachedThread(name: "warren-names", stackSize: 1 << 20) { [self] in
      let answer = ask(host)
      running.withLock { $0[host] = nil }
      lookup.finish(answer)
    }
    return lookup
  }
}
