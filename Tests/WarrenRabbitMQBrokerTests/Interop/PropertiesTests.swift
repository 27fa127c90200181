import BrokerFixture
import CRabbitMQ
import Foundation
import Testing
import Warren
import WarrenRabbitMQ

/// Properties and headers as librabbitmq reads and writes them.
struct PropertiesTests {
  @Test func anEventSaysAllThatIsKnownAboutIt() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      // A quorum queue would add headers of its own.
      let queue = try await rabbit.sink(type, arguments: ["x-queue-type": "classic"], litter)
      let time = Date(timeIntervalSince1970: 1_700_000_000.25)
      let options = PublishOptions(
        key: "customer-7", subject: "orders/7", routingKey: "region.eu", expiry: .seconds(90), correlationID: "flow-1",
        headers: [
          "tenant": "blue", "count": 42, "flag": true, "ratio": .double(0.5), "raw": .bytes(Array("raw".utf8)),
          "none": .null,
          "when": .timestamp(time), "list": .array(["a", 1]), "table": .table(["inner": false]),
        ], time: time)
      let receipt = try await Publisher(rabbit, source: "accounts").publish(Numbered(type, 1), options: options)
      let got = try #require(try await foreign { try $0.get(queue) })
      let id = receipt.id.text
      #expect(got.text == "{\"number\":1}")
      #expect(got.exchange == "events.\(type)")
      #expect(got.routingKey == "region.eu")
      #expect(got.contentType == "application/json")
      #expect(got.deliveryMode == 2)
      #expect(got.messageID == id)
      #expect(got.type == type.name)
      #expect(got.appID == "accounts")
      #expect(got.correlationID == "flow-1")
      #expect(got.timestamp == 1_700_000_000)
      #expect(got.expiration == "90000")
      var headers = got.headers
      // The delivery tag of the publish, for the publisher alone.
      #expect(headers.removeValue(forKey: "warren-seq")?.hasPrefix("l:") == true)
      #expect(
        headers == [
          "cloudEvents:specversion": "S:1.0", "cloudEvents:id": "S:\(id)", "cloudEvents:source": "S:accounts",
          "cloudEvents:type": "S:\(type)", "cloudEvents:time": "S:2023-11-14T22:13:20.250Z",
          "cloudEvents:subject": "S:orders/7", "warren-id": "l:1", "warren-key": "S:customer-7", "tenant": "S:blue",
          "count": "l:42", "flag": "t:true", "ratio": "d:0.5", "raw": "x:raw", "none": "V:", "when": "T:1700000000",
          "list": "A:S:a,l:1", "table": "F:inner=t:false",
        ])
    }
  }

  @Test func anEventWithoutOptionsSaysOnlyWhatIsNeeded() async throws {
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let queue = try await rabbit.sink(type, arguments: ["x-queue-type": "classic"], litter)
      let chosen = try EventID("order-7")
      let publisher = Publisher(rabbit, source: "accounts")
      try await publisher.publish(Numbered(type, 1))
      try await publisher.publish(Numbered(type, 2), options: .init(id: chosen))
      let got = try await foreign { try $0.take(queue, 2) }
      let common: Set = [
        "warren-seq", "cloudEvents:specversion", "cloudEvents:id", "cloudEvents:source", "cloudEvents:type",
        "cloudEvents:time",
      ]
      #expect(Set(got[0].headers.keys) == common.union(["warren-id"]))
      #expect(got[0].routingKey == type.name)
      #expect(got[0].correlationID == nil)
      #expect(got[0].expiration == nil)
      // An id that was chosen elsewhere does not claim to be one of ours.
      #expect(Set(got[1].headers.keys) == common)
      #expect(got[1].messageID == "order-7")
    }
  }

  @Test func whatOthersSayInPropertiesIsHeard() async throws {
    struct Got: Sendable {
      var number: Int
      var metadata: EventMetadata
    }
    try await withTestBroker { rabbit, litter in
      let type = try litter.type()
      let service = unique()
      try litter.service(service, type)
      let got = Collected<Got>()
      let subscriber = Subscriber(rabbit, service: try ServiceName(service)) {
        OnRaw(type) { delivery, context in
          got.add(Got(number: try Numbered.decoded(type: type, body: delivery.body).number, metadata: context.metadata))
        }
      }
      try await withSubscriber(subscriber) {
        try await foreign { client in
          let exchange = EntityNames.exchange(of: type)
          try client.publish(exchange: exchange, routingKey: "any", Array("{\"number\":1}".utf8))
          let texts = ["text/json", "their-id", "their-flow", "their-type", "their-app"].map { (text: String) in
            strdup(text)
          }
          defer { for text in texts { free(text) } }
          var properties = amqp_basic_properties_t()
          properties._flags = UInt32(
            AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG
              | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG)
          properties.content_type = amqp_cstring_bytes(texts[0])
          properties.message_id = amqp_cstring_bytes(texts[1])
          properties.correlation_id = amqp_cstring_bytes(texts[2])
          properties.type = amqp_cstring_bytes(texts[3])
          properties.app_id = amqp_cstring_bytes(texts[4])
          properties.timestamp = 1_700_000_000
          try client.publish(
            exchange: exchange, routingKey: "any", Array("{\"number\":2}".utf8), properties: properties)
        }
        let both = try #require(await got.wait(for: 2)).sorted { $0.number < $1.number }
        #expect(both[0].metadata.id == nil)
        #expect(both[0].metadata.contentType == nil)
        #expect(both[0].metadata.headers.isEmpty)
        let metadata = both[1].metadata
        #expect(metadata.id?.text == "their-id")
        #expect(metadata.correlationID == "their-flow")
        #expect(metadata.source == "their-app")
        #expect(metadata.contentType == "text/json")
        #expect(metadata.time == Date(timeIntervalSince1970: 1_700_000_000))
        // The exchange decides; what the message says is told as well.
        #expect(metadata.type == type)
        #expect(metadata.declaredType == "their-type")
      }
    }
  }
}
