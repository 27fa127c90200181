import BrokerFixture
import Testing
import Warren
import WarrenRabbitMQ

struct Thing: Event, Equatable {
  static let eventType: EventType = "roundtrip.thing"
  var number: Int
}

struct RoundTripTests {
  @Test func anEventArrivesAsItsTypedValue() async throws {
    try await withTestBroker { rabbit, litter in
      let service = unique()
      try litter.service(service, Thing.eventType)
      let got = Collected<Thing>()
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        On(Thing.self) { thing, _ in got.add(thing) }
      }
      try await withSubscriber(subscriber) {
        try await Publisher(rabbit, source: "tests").publish(Thing(number: 7))
        #expect(await got.wait(for: 1) == [Thing(number: 7)])
      }
    }
  }
}
