import FlightEvents
import Warren

/// Counts each event once, however often it is delivered, and knows when all have come.
actor DepartureBoard {
  private(set) var table = DelayTable()
  private(set) var repeats = 0
  private let expected: Int
  private var seen: Set<EventID> = []
  private var first: ContinuousClock.Instant?
  private var last: ContinuousClock.Instant?
  private var isOver = false
  private var waiter: CheckedContinuation<Void, Never>?

  init(expecting expected: Int) { self.expected = expected }

  func add(_ event: FlightEvent, id: EventID?) {
    if let id, !seen.insert(id).inserted {
      repeats += 1
      return
    }
    first = first ?? .now
    last = .now
    table.add(event)
    if table.flights == expected { giveUp() }
  }

  /// Ends the waiting, complete or not.
  func giveUp() {
    isOver = true
    waiter?.resume()
    waiter = nil
  }

  func waitUntilComplete() async {
    if isOver { return }
    await withCheckedContinuation { waiter = $0 }
  }

  var rate: Double {
    guard let first, let last, last > first else { return 0 }
    return Double(table.flights) / ((last - first) / .seconds(1))
  }
}
