import Foundation
import Testing
import Warren

@Suite struct PublishOptionsTests {
  @Test func nothingIsSetByDefault() throws {
    let options = PublishOptions()
    #expect(options.id == nil && options.key == nil && options.subject == nil && options.routingKey == nil)
    #expect(options.expiry == nil && options.correlationID == nil && options.headers.isEmpty && options.time == nil)
    try options.validate()
  }

  private static let fitting = String(repeating: "x", count: 255)
  private static let tooLong = String(repeating: "x", count: 256)

  @Test(arguments: [
    PublishOptions(headers: ["tenant": "a", "X-Upper": 1, "warren": 1, "cloudevents:x": 1, "é": 1]),
    PublishOptions(routingKey: ""), PublishOptions(routingKey: Self.fitting), PublishOptions(expiry: .zero),
    PublishOptions(expiry: .seconds(3650 * 86_400)), PublishOptions(correlationID: Self.fitting),
    PublishOptions(headers: [Self.fitting: 1]), PublishOptions(key: Self.tooLong, subject: Self.tooLong),
  ])
  func usable(_ options: PublishOptions) throws { try options.validate() }

  @Test(arguments: [
    (PublishOptions(headers: ["warren-attempt": 1]), "\"warren-attempt\" is reserved"),
    (PublishOptions(headers: ["warren-": 1]), "is reserved"),
    (PublishOptions(headers: ["cloudEvents:id": "1"]), "is reserved"),
    (PublishOptions(headers: ["a": 1, "x-death": .array([])]), "\"x-death\" is reserved"),
    (PublishOptions(headers: ["": 1]), "header"), (PublishOptions(headers: [Self.tooLong: 1]), "256 bytes"),
    (PublishOptions(headers: [String(repeating: "é", count: 128): 1]), "256 bytes"),
    (PublishOptions(routingKey: Self.tooLong), "routing key"),
    (PublishOptions(correlationID: Self.tooLong), "correlation id"),
    (PublishOptions(expiry: .milliseconds(-1)), "negative"), (PublishOptions(expiry: .nanoseconds(-1)), "negative"),
    (PublishOptions(expiry: .seconds(3650 * 86_400) + .milliseconds(1)), "3650 days"),
    (PublishOptions(expiry: .seconds(Int64.max)), "3650 days"),
  ])
  func unusable(_ options: PublishOptions, _ part: String) {
    let error = #expect(throws: WarrenError.self) { try options.validate() }
    #expect(error?.code == .invalidMetadata)
    #expect(error?.message.contains(part) == true, "\(String(describing: error))")
    #expect(error?.message.isOneHarmlessLine == true)
    #expect((error?.message.utf8.count ?? 0) < 400)
  }

  // Not as arguments of the test: Foundation traps when it prints such dates.
  @Test func timesThatAreNoneAreRefused() throws {
    for seconds in [Double.nan, .infinity, -.infinity, 1e19, 253_402_300_800] {
      let error = warrenError { try PublishOptions(time: Date(timeIntervalSince1970: seconds)).validate() }
      #expect(error?.code == .invalidMetadata, "\(seconds)")
    }
    try PublishOptions(time: .distantPast).validate()
    try PublishOptions(time: .distantFuture).validate()
  }

  @Test func aHostileHeaderNameIsNotPrintedRaw() {
    let error = #expect(throws: WarrenError.self) {
      try PublishOptions(headers: ["x-\u{1b}[2J\n" + Self.tooLong: 1]).validate()
    }
    #expect(error?.message.isOneHarmlessLine == true)
  }
}
