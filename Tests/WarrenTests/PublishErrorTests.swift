import Testing
import Warren

@Suite struct PublishErrorTests {
  private let event = EventMetadata(type: "user.created")

  @Test func aConfirmedEventHasNoError() {
    #expect(PublishError(.confirmed, of: event) == nil)
    #expect(PublishOutcome.confirmed.isConfirmed)
  }

  @Test(arguments: [
    (PublishOutcome.unroutable("why"), PublishError.Code.unroutable, true, false),
    (.refused("why"), .refused, false, false),
    (.congested("why"), .congested, true, true),
    (.notPublished("why"), .notPublished, true, false),
    (.unknown("why"), .unknown, true, true),
  ])
  func everyOtherOutcomeHasOne(
    _ outcome: PublishOutcome, _ code: PublishError.Code, _ isRetryable: Bool, _ mayHaveBeenPublished: Bool
  ) throws {
    let error = try #require(PublishError(outcome, of: event))
    #expect(!outcome.isConfirmed)
    #expect(error.code == code)
    #expect(error.isRetryable == isRetryable)
    #expect(error.mayHaveBeenPublished == mayHaveBeenPublished)
    #expect(error.id == event.id && error.type == event.type && error.message == "why")
    #expect(error.description == "\(code): user.created \(try #require(event.id)): why")
  }

  @Test func anEventWithoutIDIsNamedSo() {
    let foreign = EventMetadata(id: nil, type: "a")
    #expect(PublishError(.refused("x"), of: foreign)?.description == "refused: a without id: x")
  }

  private func batch(_ outcomes: [PublishOutcome]) throws -> BatchPublishError {
    let first = try #require(outcomes.lazy.compactMap { PublishError($0, of: event) }.first)
    return BatchPublishError(outcomes: outcomes, first: first)
  }

  @Test func aBatchCountsAndNamesItsFirstFailure() throws {
    let error = try batch([.confirmed, .notPublished("late"), .confirmed, .unroutable("nobody")])
    #expect(error.confirmed == 2)
    #expect(error.first.code == .notPublished)
    #expect(error.description.hasPrefix("2 of 4 events were confirmed; the first failure: notPublished: user.created"))
    #expect(error.isRetryable && !error.mayHaveBeenPublished)
  }

  @Test func aBatchMayHaveBeenPublishedWhereverTheUnknownOneIs() throws {
    #expect(try batch([.refused("a"), .confirmed, .unknown("b")]).mayHaveBeenPublished)
    #expect(try batch([.unknown("a"), .refused("b")]).mayHaveBeenPublished)
    // One queue was full; the others of the exchange may have it.
    #expect(try batch([.refused("a"), .congested("b")]).mayHaveBeenPublished)
    #expect(try !batch([.notPublished("a"), .confirmed]).mayHaveBeenPublished)
  }

  /// A loop that publishes what failed until nothing fails would never end with an event that is always refused.
  @Test func aBatchWithARefusedEventIsNotRetryableWhereverItIs() throws {
    #expect(try !batch([.refused("a"), .congested("b")]).isRetryable)
    #expect(try !batch([.congested("a"), .refused("b")]).isRetryable)
    #expect(try batch([.congested("a"), .confirmed, .unknown("b")]).isRetryable)
  }

  @Test func aReceiptHasTheEventsID() {
    let id = EventID()
    #expect(Receipt.confirmed(id).id == id && Receipt.collected(id).id == id)
    #expect(Receipt.confirmed(id) != Receipt.collected(id))
  }

  @Test func aWarrenErrorSaysItsCodeAndMessageAndIsNotRetryable() {
    let error = WarrenError(.invalidConfiguration, "prefetch is 0: it must be 1 or more")
    #expect(error.description == "invalidConfiguration: prefetch is 0: it must be 1 or more")
    #expect(!error.isRetryable)
    let codes: [WarrenError.Code] = [
      .invalidName, .encodingFailed, .decodingFailed, .invalidMetadata, .invalidConfiguration,
    ]
    #expect(Set(codes.map(\.description)).count == codes.count)
  }
}
