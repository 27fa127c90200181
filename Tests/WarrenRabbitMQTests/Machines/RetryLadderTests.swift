import Foundation
import Testing

@testable import WarrenRabbitMQ

@Suite struct RetryLadderTests {
  private let ladder = RetryLadder([.seconds(30), .seconds(1), .seconds(5)])

  @Test func neverEarlierThanWantedUnlessTheLadderEnds() {
    #expect(ladder.rung(for: .milliseconds(1)) == .seconds(1))
    #expect(ladder.rung(for: .seconds(1)) == .seconds(1))
    #expect(ladder.rung(for: .milliseconds(1001)) == .seconds(5))
    #expect(ladder.rung(for: .seconds(30)) == .seconds(30))
    #expect(ladder.rung(for: .seconds(3600)) == .seconds(30))
  }

  @Test func jitterTakesTheRungOrTheNextOne() {
    let drawn = Set((0..<200).map { _ in ladder.rung(for: .seconds(2), jitter: true) })
    #expect(drawn == [.seconds(5), .seconds(30)])
    #expect(Set((0..<50).map { _ in ladder.rung(for: .seconds(9), jitter: true) }) == [.seconds(30)])
  }

  @Test func whatCannotWorkIsSaid() {
    #expect(RetryLadder.problem(with: [.seconds(1)]) == nil)
    #expect(RetryLadder.problem(with: [])?.contains("1 to 20") == true)
    #expect(RetryLadder.problem(with: [.milliseconds(99)])?.contains("100 ms to 1 day") == true)
    #expect(RetryLadder.problem(with: [.microseconds(100_500)])?.contains("whole milliseconds") == true)
    #expect(RetryLadder.problem(with: [.seconds(86_401)])?.contains("1 day") == true)
  }
}

@Suite struct ParkedMessageTests {
  @Test func everyPartComesBack() throws {
    let data = ParkedMessage.encode(
      exchange: "events.größe", routingKey: "", properties: [0, 1, 255], body: Data([9, 8, 0]))
    let message = try #require(ParkedMessage.decode(data))
    #expect(message.exchange == "events.größe")
    #expect(message.routingKey.isEmpty)
    #expect(message.properties == [0, 1, 255])
    #expect(message.body == Data([9, 8, 0]))
  }

  @Test func brokenBytesAreNoMessage() {
    let data = ParkedMessage.encode(exchange: "e", routingKey: "r", properties: [1, 2], body: Data())
    for count in 0..<data.count { #expect(ParkedMessage.decode(data.prefix(count)) == nil, "\(count) bytes") }
    #expect(ParkedMessage.decode(Data([1, 255, 255, 255, 255])) == nil)
    #expect(ParkedMessage.decode(Data([2]) + data.dropFirst()) == nil)
  }
}
