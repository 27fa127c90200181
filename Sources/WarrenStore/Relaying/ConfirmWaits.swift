import WarrenSupport

/// Callers that wait until the relay of this process has seen the confirms of their entries. Waiting for the checkpoint would
/// cost another sync of the disk.
final class ConfirmWaits: Sendable {
  /// One caller's entries.
  final class Ticket: Sendable {
    private struct State {
      var left: Set<Int64>
      var continuation: CheckedContinuation<Void, Never>?
    }
    private let state: Lock<State>
    let positions: Set<Int64>

    init(_ positions: Set<Int64>) {
      self.positions = positions
      state = Lock(State(left: positions))
    }

    var isDone: Bool { state.withLock { $0.left.isEmpty } }

    func confirmed(_ position: Int64) {
      let continuation = state.withLock { state -> CheckedContinuation<Void, Never>? in
        state.left.remove(position)
        guard state.left.isEmpty else { return nil }
        defer { state.continuation = nil }
        return state.continuation
      }
      continuation?.resume()
    }

    /// Returns when all are confirmed, after `time`, or when the task is cancelled.
    func wait(atMost time: Duration) async {
      let timer = Task {
        try? await Task.sleep(for: time)
        giveUp()
      }
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isOver = state.withLock { state in
            if !state.left.isEmpty { state.continuation = continuation }
            return state.left.isEmpty
          }
          if isOver { continuation.resume() }
        }
      } onCancel: {
        timer.cancel()
      }
      timer.cancel()
    }

    private func giveUp() {
      let continuation = state.withLock { state in
        defer { state.continuation = nil }
        return state.continuation
      }
      continuation?.resume()
    }
  }

  private let tickets = Lock<[Int64: [Ticket]]>([:])

  func enter(_ positions: Set<Int64>) -> Ticket {
    let ticket = Ticket(positions)
    tickets.withLock { tickets in
      for position in positions { tickets[position, default: []].append(ticket) }
    }
    return ticket
  }

  func leave(_ ticket: Ticket) {
    tickets.withLock { tickets in
      for position in ticket.positions {
        tickets[position]?.removeAll { $0 === ticket }
        if tickets[position]?.isEmpty == true { tickets[position] = nil }
      }
    }
  }

  func confirmed(_ position: Int64) {
    let found = tickets.withLock { $0[position] }
    for ticket in found ?? [] { ticket.confirmed(position) }
  }
}
