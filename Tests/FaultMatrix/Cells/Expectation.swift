/// What must be true after a fault. What is the same for all of them is not said here: everything that was recorded or confirmed
/// had its effect once, in the order of its key, and was handled by the second subscription at least once; nothing that
/// was refused had one; no event is in the dead letters or left in a queue; both processes have the connections and
/// threads that they had before.
struct Expectation: Sendable {
  /// What the fault takes along. The other subscription loses nothing, and neither does what comes later.
  enum Loss: Sendable {
    case none
    /// What was under way to the subscription until it was noticed: it was in the queue, or was published while none was bound.
    case untilNoticed
  }
  var loss = Loss.none
  /// From the end of the fault until an event that was published afterwards has been handled by all.
  var resumesWithin: Duration
  /// One of these is in the worker's or the publisher's log, at `info` or above; empty when there is nothing to report.
  var reported: [String] = []
  /// In words, for the table.
  var text: String

  static func of(_ cell: Cell) -> Expectation {
    var expectation = of(cell.fault)
    // A try to connect may be waiting for its turn, for up to 3 s, when everything is well again.
    if cell.phase == .recovering { expectation.resumesWithin += .seconds(3) }
    return expectation
  }

  private static func of(_ fault: Fault) -> Expectation {
    switch fault {
    case .publisherKilled, .workerKilled:
      Expectation(
        resumesWithin: .seconds(10),
        text: "a new process goes on where it stopped; counted from the kill, its start included")
    case .publisherTerminated, .workerTerminated:
      Expectation(
        resumesWithin: .seconds(12),
        text: "it ends by itself with status 0 within 15 s; counted from its end, the start of the next one included")
    case .brokerKilled, .brokerRestarted:
      Expectation(
        resumesWithin: .seconds(8),
        text:
          "counted from when the broker takes connections again, until an event of then is handled behind what has piled up meanwhile"
      )
    case .brokerFrozen:
      Expectation(
        resumesWithin: .seconds(8), text: "frozen for 1 to 7 s, the heartbeat is 2 s; counted from SIGCONT, as above")
    case .connectionsClosed:
      Expectation(resumesWithin: .seconds(8), text: "all connections of the broker, by the operator's command")
    case .memoryAlarm, .diskAlarm:
      Expectation(
        resumesWithin: .seconds(8), text: "publishes wait, consuming goes on; counted from when the alarm is cleared")
    case .cut: Expectation(resumesWithin: .seconds(5), text: "one to three times, at once or after some bytes")
    case .halfOpen:
      Expectation(
        resumesWithin: .seconds(8),
        text:
          "nothing passes on the old connection and nobody sees an end; the heartbeat of 2 s must notice, which counts in"
      )
    case .slow: Expectation(resumesWithin: .seconds(5), text: "up to 20 ms later and 300 to 4,000 bytes in each 10 ms")
    case .oneWay:
      Expectation(
        resumesWithin: .seconds(8), text: "one direction stands, for less and for more than the heartbeat allows")
    case .queueDeleted:
      Expectation(
        loss: .untilNoticed, resumesWithin: .seconds(5), reported: ["not consuming", "consuming again"],
        text: "takes its content along; declared again at once")
    case .bindingDeleted:
      Expectation(
        loss: .untilNoticed, resumesWithin: .seconds(8),
        text:
          "AMQP neither tells of it nor answers whether it is there, so it is bound again every 5 s and nothing is reported; what was published meanwhile reached the other subscription only"
      )
    case .exchangeDeleted:
      Expectation(
        loss: .untilNoticed, resumesWithin: .seconds(15),
        reported: ["somebody has deleted", "consuming again", "unroutable"],
        text:
          "takes the bindings along: the exchange is declared again by the next publish, each binding within 5 s; with no binding the relay holds"
      )
    case .permissionTaken:
      Expectation(
        resumesWithin: .seconds(10), reported: ["not consuming"],
        text:
          "all rights of the user, and the connections cut; tried again after 1, 2, 4 s and so on, and a reading that lasted less "
          + "than 5 s does not begin that count anew")
    case .leaderKilled:
      Expectation(
        resumesWithin: .seconds(15),
        text:
          "the node that leads the queue, of three; counted from the kill. What is on its way through a retry queue then comes "
          + "when the broker forwards it again: after 5 s here, by RabbitMQ's default after 180 s")
    case .storeLocked:
      Expectation(
        resumesWithin: .seconds(5),
        text: "another process holds the write lock for 0.2 to 2.5 s; the busy timeout is 0.5 s")
    case .diskFull:
      Expectation(
        resumesWithin: .seconds(5), text: "every write to the store's files fails with ENOSPC for 0.2 to 2.5 s")
    }
  }
}
