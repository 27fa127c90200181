import BrokerFixture
import Foundation
import Logging
import Testing
import Warren

@testable import WarrenRabbitMQ

/// A publishing channel on which the broker has been silent for too long is replaced by another one.
struct SilentChannelTests {
  /// The event at which that is noticed is written to the new channel and not to the old one as well: the broker, which may
  /// only be slow, would take it twice. Whoever notices it is held up before the channel is closed, for as long as it takes
  /// the connection to write what it was given.
  @Test func theEventAtWhichItIsNoticedIsWrittenOnce() async throws {
    try await withTap { tap in
      try await withTestBroker { broker, litter in
        let type = try litter.type()
        let queue = try await broker.sink(type, litter)
        var configuration = try TestBroker.configuration
        configuration.go(through: tap)
        // Two such waits are longer than the silence that is borne, and one is shorter.
        configuration.publishing.timeout = .seconds(3)
        configuration.heartbeat = .seconds(60)
        let hesitation = Hesitation(before: "opening another one", until: { tap.publishes > 3 })
        let rabbit = try RabbitMQ(configuration, logger: Logger(label: "hesitates") { _ in hesitation })
        let running = Task { try await rabbit.run() }
        defer { running.cancel() }
        try await rabbit.waitUntilConnected(timeout: .seconds(20))
        let publisher = Publisher(rabbit, source: "tests")
        #expect(await publisher.publish(encoded: [.init(type, "first".utf8)]) == [.confirmed])
        // The publish hears of its confirm a moment before its channel does, and the silence begins behind both.
        #expect(try await eventually { rabbit.events.lastConfirm != nil })
        let channels = tap.events.compactMap { if case .publish(let channel) = $0 { channel } else { nil } }
        let old = try #require(channels.last)
        tap.hold()
        defer { tap.release() }
        for text in ["second", "third"] {
          #expect(await publisher.publish(encoded: [.init(type, text.utf8)]).map(\.kind) == ["unknown"])
        }
        async let fourth = publisher.publish(encoded: [.init(type, "fourth".utf8)])
        #expect(try await eventually { tap.events.contains(.closing(channel: old)) })
        #expect(tap.publishes == 3)
        tap.release()
        #expect(await fourth == [.confirmed])
        #expect(tap.publishes == 4)
        #expect(try await foreign { try $0.take(queue, 4) }.map(\.text) == ["first", "second", "third", "fourth"])
        #expect(try await broker.depth(queue) == 0)
        running.cancel()
        _ = await running.result
      }
    }
  }

  /// Holds up who logs a certain line, until something is so or for half a second.
  private struct Hesitation: LogHandler {
    let text: String
    let condition: @Sendable () -> Bool
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace

    init(before text: String, until condition: @escaping @Sendable () -> Bool) {
      self.text = text
      self.condition = condition
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      guard "\(event.message)".contains(text) else { return }
      let end = ContinuousClock.now + .milliseconds(500)
      while !condition(), ContinuousClock.now < end { usleep(1000) }
    }
  }
}
