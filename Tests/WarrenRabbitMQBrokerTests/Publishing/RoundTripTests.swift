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
        let publisher = Publisher(rabbit, source: "tests")
        let number = Int.random(in: 1...1_000_000)
        try await publisher.publish(Thing(number: number))
        // The type is everybody's: another run of this test may publish meanwhile.
        #expect(try await eventually { got.all.contains(Thing(number: number)) })
      }
    }
  }
}
