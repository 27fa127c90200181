import Testing
import Warren

@Suite struct ServiceNameTests {
  @Test(arguments: [
    "a", "mailer", "order-service-2", "-", "0", "dead", "retry", "events", String(repeating: "z", count: 64),
  ])
  func validNames(_ name: String) throws {
    #expect(try ServiceName(name).name == name)
    #expect(try ServiceName(name).description == name)
    let owner = try QueueOwner(service: "a", subscription: name)
    #expect(owner.description == "a_\(name)")
    #expect(owner.subscription == name)
  }

  @Test(arguments: [
    ("", "is empty"), (String(repeating: "a", count: 65), "longer than 64 bytes"), ("a.b", "'.'"), ("a_b", "'_'"),
    ("Mailer", "'M'"), ("mailer ", "U+20"), ("mailer\t", "U+9"), ("mäiler", "'ä'"), ("a/b", "'/'"), ("#", "'#'"),
  ])
  func invalidNamesSayWhatIsWrong(_ name: String, _ part: String) throws {
    let service = #expect(throws: WarrenError.self) { try ServiceName(name) }
    #expect(service?.code == .invalidName)
    #expect(service?.message.contains(part) == true, "\(String(describing: service))")
    #expect(service?.message.hasPrefix("service name") == true)

    let subscription = #expect(throws: WarrenError.self) { try QueueOwner(service: "a", subscription: name) }
    #expect(subscription?.code == .invalidName)
    #expect(subscription?.message.contains(part) == true, "\(String(describing: subscription))")
    #expect(subscription?.message.hasPrefix("subscription name") == true)
  }

  @Test func anOwnerChecksTheLiteralOfItsService() {
    let error = #expect(throws: WarrenError.self) { try QueueOwner(service: "not.valid") }
    #expect(error?.code == .invalidName)
  }

  @Test func ownersWithoutSubscriptionAreTheServiceItself() throws {
    let owner = try QueueOwner(service: "mailer")
    #expect(owner.description == "mailer")
    #expect(owner.subscription == nil)
    #expect(try owner != QueueOwner(service: "mailer", subscription: "mailer"))
  }

  @Test func anErrorAboutAHostileNameIsOneShortHarmlessLine() {
    for name in ["a\u{1b}[2Jb\nc", String(repeating: "x", count: 100_000)] {
      let error = #expect(throws: WarrenError.self) { try ServiceName(name) }
      #expect(error?.message.isOneHarmlessLine == true)
      #expect((error?.message.utf8.count ?? 0) < 400)
      let other = #expect(throws: WarrenError.self) { try QueueOwner(service: "a", subscription: name) }
      #expect(other?.message.isOneHarmlessLine == true)
      #expect((other?.message.utf8.count ?? 0) < 400)
    }
  }
}
