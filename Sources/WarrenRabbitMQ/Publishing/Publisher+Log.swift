import Warren

extension Publisher {
  /// So many events of a sequence are recorded in one commit.
  private static var recordedAtOnce: Int { 256 }

  /// Records one event and returns its position; waits for the confirm if that is asked for.
  nonisolated func record(_ event: EncodedEvent, in log: any EventRecorder) async throws -> LogPosition? {
    guard let position = try await log.record(encoded: [event]).first else { return nil }
    if options.waitsForConfirm {
      let outcomes = try await log.waitUntilPublished([position], timeout: rabbit.configuration.publishing.timeout)
      if let outcome = outcomes.first, let error = PublishError(outcome, of: event.metadata) { throw error }
    }
    return position
  }

  nonisolated func record<E: Event>(
    contentsOf events: some Sequence<E>, options eventOptions: (E) -> PublishOptions, in log: any EventRecorder
  ) async throws -> [Receipt] {
    var receipts: [Receipt] = []
    var chunk: [EncodedEvent] = []
    var all: [EventMetadata] = []
    func flush() async throws {
      guard !chunk.isEmpty else { return }
      let positions = try await log.record(encoded: chunk)
      for (event, position) in zip(chunk, positions) {
        receipts.append(.recorded(event.metadata.id ?? EventID(), position))
      }
      if options.waitsForConfirm { all.append(contentsOf: chunk.map(\.metadata)) }
      chunk.removeAll(keepingCapacity: true)
    }
    do {
      for event in events {
        chunk.append(try await throughMiddleware(try encode(event, eventOptions(event))))
        if chunk.count >= Self.recordedAtOnce { try await flush() }
      }
    } catch {
      // What comes before the one that cannot be recorded is.
      try await flush()
      throw error
    }
    try await flush()
    guard options.waitsForConfirm else { return receipts }
    let outcomes = try await log.waitUntilPublished(
      receipts.compactMap(\.position), timeout: rabbit.configuration.publishing.timeout)
    let first = zip(outcomes, all).lazy.compactMap { PublishError($0, of: $1) }.first
    if let first { throw BatchPublishError(outcomes: outcomes, first: first) }
    return receipts
  }
}

/// Takes what a handler has collected for a publisher with a log: recorded is as good as confirmed, the relay does the rest.
final class RecordingPublisher: EncodedPublisher {
  private let log: any EventRecorder
  init(_ log: any EventRecorder) { self.log = log }

  func publish(encoded events: [EncodedEvent]) async -> [PublishOutcome] {
    do {
      _ = try await log.record(encoded: events)
      return events.map { _ in .confirmed }
    } catch let error as any RecordingError where !error.isRetryable {
      return events.map { _ in .refused("\(error)") }
    } catch let error as any RecordingError where !error.mayHaveBeenRecorded {
      return events.map { _ in .notPublished("\(error)") }
    } catch {
      return events.map { _ in .unknown("\(error)") }
    }
  }
}
