import Warren

/// An account with a balance that cannot fall below zero.
struct Account: SnapshottingDecider, Equatable {
  enum Command: Sendable { case open(owner: String), deposit(cents: Int), withdraw(cents: Int), nothing }
  typealias Event = AccountEvent
  enum Refusal: Error, Equatable { case notOpen, alreadyOpen, notEnough(cents: Int) }
  static let category = "account"
  static let snapshotEvery = 5

  var owner: String?
  var cents = 0

  func decide(_ command: Command) throws(Refusal) -> [AccountEvent] {
    switch (command, owner) {
    case (.open(let owner), nil): return [.opened(owner: owner)]
    case (.open, _): throw .alreadyOpen
    case (_, nil): throw .notOpen
    case (.deposit(let cents), _): return [.deposited(cents: cents)]
    case (.withdraw(let wanted), _):
      guard wanted <= cents else { throw .notEnough(cents: cents) }
      return [.withdrawn(cents: wanted)]
    case (.nothing, _): return []
    }
  }

  mutating func evolve(_ event: AccountEvent) {
    switch event {
    case .opened(let owner): self.owner = owner
    case .deposited(let cents): self.cents += cents
    case .withdrawn(let cents): self.cents -= cents
    }
  }
}
