import Testing

@testable import WarrenRabbitMQ

struct ConfirmSilenceTests {
  private let start = ContinuousClock.now

  /// The seconds at which a channel is replaced when something is published at each of these.
  private func replacements(
    _ seconds: some Sequence<Int>, confirmedAt: Set<Int> = [], interruptedAt: Set<Int> = []
  ) -> [Int] {
    var silence = ConfirmSilence()
    return seconds.filter { second in
      if confirmedAt.contains(second) { silence.confirmed() }
      if interruptedAt.contains(second) { silence.interrupted() }
      return silence.published(start + .seconds(second))
    }
  }

  @Test func aChannelOnWhichNothingIsAcceptedIsReplacedLessAndLessOften() {
    #expect(replacements(0...400) == [5, 15, 35, 75, 135, 195, 255, 315, 375])
  }

  @Test func aConfirmBeginsAnew() {
    #expect(replacements(0...30, confirmedAt: Set(0...30)).isEmpty)
    #expect(replacements(0...24, confirmedAt: [3, 10]) == [8, 15])
  }

  @Test func whoPublishesNowAndThenHearsNoSilence() {
    #expect(replacements(stride(from: 0, through: 600, by: 5)).isEmpty)
    #expect(replacements([0, 1, 3, 7]) == [7])
  }

  @Test func aBlockedOrLostConnectionIsNoSilence() {
    #expect(replacements(0...12, interruptedAt: [4, 8]).isEmpty)
    #expect(replacements(0...13, interruptedAt: [4, 8]) == [13])
  }
}
