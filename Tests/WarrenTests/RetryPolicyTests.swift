import Testing
import Warren

/// What is next after a failure, by tries in place, rounds and kinds of error.
@Suite struct RetryPolicyTests {
  private struct Wrong: Error { var code = 0 }
  private struct Busy: Error {}

  private let policy = RetryPolicy(
    inPlace: [.milliseconds(10), .milliseconds(20)], delays: [.seconds(1), .seconds(5)])

  @Test func everyRoundBeginsInPlaceAndTheLastOneEndsInTheDeadLetters() {
    func decisions(_ round: Int) -> [RetryPolicy.Decision] {
      (1...3).map { policy.decision(after: Busy(), tries: $0, round: round) }
    }
    let inPlace: [RetryPolicy.Decision] = [.inPlace(after: .milliseconds(10)), .inPlace(after: .milliseconds(20))]
    #expect(decisions(1) == inPlace + [.later(after: .seconds(1))])
    #expect(decisions(2) == inPlace + [.later(after: .seconds(5))])
    #expect(decisions(3) == inPlace + [.deadLetter])
    #expect(decisions(1000).last == .deadLetter)
  }

  @Test func neverIsNever() {
    #expect(RetryPolicy.never.decision(after: Busy(), tries: 1, round: 1) == .deadLetter)
    #expect(RetryPolicy().decision(after: Busy(), tries: 1, round: 1) == .deadLetter)
  }

  @Test func theFirstRuleThatFitsStands() {
    let policy =
      policy
      .deadLettering(Wrong.self) { $0.code == 1 }
      .ignoring(Wrong.self) { $0.code == 2 }
      .retrying(Wrong.self, inPlace: [.zero], delays: [.seconds(60)])
      .deadLettering(Wrong.self)
    #expect(policy.decision(after: Wrong(code: 1), tries: 1, round: 1) == .deadLetter)
    #expect(policy.decision(after: Wrong(code: 2), tries: 1, round: 1) == .ignore)
    #expect(policy.decision(after: Wrong(code: 3), tries: 1, round: 1) == .inPlace(after: .zero))
    #expect(policy.decision(after: Wrong(code: 3), tries: 2, round: 1) == .later(after: .seconds(60)))
    #expect(policy.decision(after: Wrong(code: 3), tries: 2, round: 2) == .deadLetter)
    #expect(policy.decision(after: Busy(), tries: 1, round: 1) == .inPlace(after: .milliseconds(10)))
  }

  @Test func whatCannotWorkIsNamedWithWhatIsAllowed() {
    #expect(RetryPolicy.standard.problem == nil)
    let minute = RetryPolicy(inPlace: [.seconds(61)])
    #expect(minute.problem?.contains("0 s to 60 s") == true)
    #expect(RetryPolicy(inPlace: [.milliseconds(-1)]).problem?.contains("inPlace") == true)
    #expect(RetryPolicy(inPlace: Array(repeating: .zero, count: 11)).problem?.contains("up to 10") == true)
    #expect(RetryPolicy(delays: [.zero]).problem?.contains("1 ms to 30 days") == true)
    #expect(RetryPolicy(delays: [.seconds(31 * 86_400)]).problem?.contains("1 ms to 30 days") == true)
    #expect(RetryPolicy(delays: Array(repeating: .seconds(1), count: 101)).problem?.contains("up to 100") == true)
  }
}
