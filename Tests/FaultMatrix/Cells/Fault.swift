/// What is done.
enum Fault: String, CaseIterable, Codable, Sendable {
  case publisherKilled, publisherTerminated, workerKilled, workerTerminated
  case brokerKilled, brokerRestarted, brokerFrozen, connectionsClosed
  case memoryAlarm, diskAlarm
  case cut, halfOpen, slow, oneWay
  case queueDeleted, bindingDeleted, exchangeDeleted
  case permissionTaken
  case leaderKilled
  case storeLocked, diskFull

  /// What is on the left of the table.
  var title: String {
    switch self {
    case .publisherKilled: "publisher SIGKILL"
    case .publisherTerminated: "publisher SIGTERM"
    case .workerKilled: "worker SIGKILL"
    case .workerTerminated: "worker SIGTERM"
    case .brokerKilled: "broker SIGKILL"
    case .brokerRestarted: "broker restart"
    case .brokerFrozen: "broker SIGSTOP"
    case .connectionsClosed: "connections closed"
    case .memoryAlarm: "memory alarm"
    case .diskAlarm: "disk alarm"
    case .cut: "connection cut"
    case .halfOpen: "half-open"
    case .slow: "slow"
    case .oneWay: "one-way"
    case .queueDeleted: "queue deleted"
    case .bindingDeleted: "binding deleted"
    case .exchangeDeleted: "exchange deleted"
    case .permissionTaken: "permission taken"
    case .leaderKilled: "cluster leader killed"
    case .storeLocked: "SQLite locked"
    case .diskFull: "disk full"
    }
  }

  /// Where a fault needs the broker for itself, because everybody on it would be hit.
  enum Place: Sendable { case processes, broker, cluster }
  var place: Place {
    switch self {
    case .brokerKilled, .brokerRestarted, .brokerFrozen, .connectionsClosed, .memoryAlarm, .diskAlarm: .broker
    case .leaderKilled: .cluster
    default: .processes
    }
  }
}

/// What the two are doing when it happens.
enum Phase: String, CaseIterable, Codable, Sendable {
  /// Connected, and nothing to do.
  case idle
  /// Events are recorded, relayed, published and handled.
  case publishing
  /// Events are written and the broker's confirms do not come.
  case confirming
  /// Handlers run and do not end.
  case handling
  /// Handlers have ended, and acknowledgements and retry copies do not reach the broker.
  case settling
  /// Both have lost their connections and may not connect yet.
  case recovering

  var title: String {
    switch self {
    case .confirming: "waiting for confirms"
    default: rawValue
    }
  }
}

/// A fault in a phase.
struct Cell: Hashable, Codable, Sendable, CustomStringConvertible {
  var fault: Fault
  var phase: Phase

  var description: String { "\(fault.rawValue):\(phase.rawValue)" }

  /// Why there is no such thing; nil where there is.
  var obstacle: String? {
    switch (fault, phase) {
    case (.connectionsClosed, .recovering):
      "there is no connection that the broker could close; a cut in this phase meets the handshakes"
    default: nil
    }
  }

  static let all = Fault.allCases.flatMap { fault in Phase.allCases.map { Cell(fault: fault, phase: $0) } }

  /// `fault:phase`, each of them a name or `*`; a fault alone is in all phases.
  static func matching(_ pattern: String) -> [Cell] {
    let parts = pattern.split(separator: ":", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count) else { return [] }
    func fits(_ name: String, _ part: Substring) -> Bool { part == "*" || part.lowercased() == name.lowercased() }
    return all.filter {
      fits($0.fault.rawValue, parts[0]) && (parts.count == 1 || fits($0.phase.rawValue, parts[1]))
    }
  }
}
