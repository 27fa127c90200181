import CRabbitMQ
import Warren
import WarrenSupport

/// Where callers leave commands for a connection thread. The descriptor is written only when the thread sleeps.
final class Mailbox: Sendable {
  private struct State {
    var commands: [EngineCommand] = []
    var isAsleep = false
    var isClosed = false
    var goodbye: Goodbye?
  }
  /// That the connection is to be closed, and why.
  struct Goodbye: Sendable { var reason: RabbitMQError? }

  private let state = Lock(State())
  private let descriptors: (read: Int32, write: Int32)

  init() {
    var pair: [Int32] = [-1, -1]
    // Without a descriptor the thread still sees commands at its next heartbeat: late, but not never.
    _ = warren_wakeup_open(&pair)
    descriptors = (pair[0], pair[1])
  }

  deinit {
    if descriptors.read >= 0 { close(descriptors.read) }
    if descriptors.write >= 0, descriptors.write != descriptors.read { close(descriptors.write) }
  }

  /// To be polled for input while asleep.
  var descriptor: Int32 { descriptors.read }

  /// False when the thread has ended: the command was not taken.
  func post(_ command: EngineCommand) -> Bool {
    let (taken, wake) = state.withLock { state -> (Bool, Bool) in
      guard !state.isClosed else { return (false, false) }
      state.commands.append(command)
      if case .close(let reason) = command { state.goodbye = state.goodbye ?? Goodbye(reason: reason) }
      defer { state.isAsleep = false }
      return (true, state.isAsleep)
    }
    if wake { warren_wakeup_signal(descriptors.write) }
    return taken
  }

  /// Everything that was posted, swapped for the caller's empty array so that its memory is used again.
  func take(into batch: inout [EngineCommand]) {
    state.withLock { swap(&$0.commands, &batch) }
  }

  /// True when the thread may sleep: nothing is waiting, and the next post will write the descriptor.
  func fallAsleep() -> Bool {
    state.withLock { state in
      state.isAsleep = state.commands.isEmpty
      return state.isAsleep
    }
  }

  /// The same while there is no connection yet: what is waiting has to wait, only a goodbye is of interest.
  func fallAsleepConnecting() -> Bool {
    state.withLock { state in
      state.isAsleep = state.goodbye == nil
      return state.isAsleep
    }
  }

  /// Set when the connection is to be closed, before it has been opened even.
  var goodbye: Goodbye? { state.withLock { $0.goodbye } }

  /// Wakes the thread, for something that is not a command.
  func wake() { warren_wakeup_signal(descriptors.write) }

  func wokeUp(drain: Bool) {
    if drain { warren_wakeup_drain(descriptors.read) }
    state.withLock { $0.isAsleep = false }
  }

  /// No post is taken any more; returns what was left.
  func close() -> [EngineCommand] {
    state.withLock { state in
      state.isClosed = true
      defer { state.commands = [] }
      return state.commands
    }
  }

  private func close(_ descriptor: Int32) { closeDescriptor(descriptor) }
}
