public import Warren

/// What a decider has seen before a test begins.
///
/// ```swift
/// try given(Account.self, .opened(owner: "Bo")).when(.deposit(cents: 5)).then(.deposited(cents: 5))
/// try given(Account.self).when(.deposit(cents: 5)).refuses(.notOpen)
/// ```
/// Needs no database and no test framework: what is not as expected is thrown as ``SpecificationFailed``.
public func given<D: Decider>(_ type: D.Type, _ history: D.Event...) -> GivenHistory<D> {
  GivenHistory(state: D(history))
}

/// The same with events that were made elsewhere.
public func given<D: Decider>(_ type: D.Type, events history: [D.Event]) -> GivenHistory<D> {
  GivenHistory(state: D(history))
}

/// A decider behind some events.
public struct GivenHistory<D: Decider> {
  /// The state behind the events.
  public let state: D

  /// Lets it decide about a command.
  public func when(_ command: D.Command) -> Decided<D> {
    do throws(D.Refusal) {
      return Decided(before: state, result: .success(try state.decide(command)))
    } catch {
      return Decided(before: state, result: .failure(error))
    }
  }
}

/// What a decider has decided.
public struct Decided<D: Decider> {
  let before: D
  let result: Result<[D.Event], D.Refusal>

  /// The state behind the events that were decided; the state before them when the command was refused.
  public var state: D {
    var state = before
    if case .success(let events) = result { state.evolve(events) }
    return state
  }

  /// Expects exactly these events, in this order. They are compared as what is stored: type and JSON.
  /// - Throws: ``SpecificationFailed``; `WarrenError` when an event cannot be encoded.
  @discardableResult
  public func then(_ expected: D.Event...) throws -> Self {
    switch result {
    case .failure(let refusal):
      throw SpecificationFailed("expected \(list(expected)), and the command was refused: \(refusal)")
    case .success(let events):
      // A decider knows its events by what they say, so they need not be Equatable.
      let same = try events.map { try Coded($0) } == expected.map { try Coded($0) }
      guard same else { throw SpecificationFailed("expected \(list(expected)), and it was \(list(events))") }
      return self
    }
  }

  /// Expects that there is nothing to do.
  /// - Throws: ``SpecificationFailed``.
  @discardableResult
  public func thenNothing() throws -> Self { try then() }

  /// Expects that the command is refused, for whatever reason.
  /// - Throws: ``SpecificationFailed``.
  @discardableResult
  public func refuses() throws -> D.Refusal {
    switch result {
    case .success(let events): throw SpecificationFailed("expected a refusal, and it was \(list(events))")
    case .failure(let refusal): return refusal
    }
  }

  /// Expects something of the state behind the decision.
  /// - Throws: ``SpecificationFailed``.
  @discardableResult
  public func thenState(_ isAsExpected: (D) -> Bool) throws -> Self {
    guard isAsExpected(state) else { throw SpecificationFailed("the state is not as expected: \(state)") }
    return self
  }

  private func list(_ events: [D.Event]) -> String {
    events.isEmpty ? "no event" : events.map { "\($0)" }.joined(separator: ", ")
  }
}

extension Decided where D.Refusal: Equatable {
  /// Expects that the command is refused for this reason.
  /// - Throws: ``SpecificationFailed``.
  public func refuses(_ expected: D.Refusal) throws {
    let refusal = try refuses()
    guard refusal == expected else {
      throw SpecificationFailed("expected the refusal \(expected), and it was \(refusal)")
    }
  }
}

/// Something is not as a test expected it.
public struct SpecificationFailed: Error, CustomStringConvertible, Sendable {
  /// What was expected, and what was.
  public let description: String
  init(_ description: String) { self.description = description }
}
