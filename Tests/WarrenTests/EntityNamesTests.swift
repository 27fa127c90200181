import Testing
import Warren

/// No two different things may share a name on the broker: one service would take another's events, or handle dead
/// letters as events.
@Suite struct EntityNamesTests {
  /// Everything with a queue. Queues and exchanges are two name spaces.
  private enum Queue: Hashable {
    case work(QueueOwner, EventType)
    case deadLetters(QueueOwner, EventType)
    case rung(QueueOwner, milliseconds: Int)
    case group(QueueOwner, String)
    case groupDeadLetters(QueueOwner, String)

    var name: String {
      switch self {
      case .work(let owner, let type): EntityNames.workQueue(of: owner, type: type)
      case .deadLetters(let owner, let type): EntityNames.deadLetterQueue(of: owner, type: type)
      case .rung(let owner, let delay): EntityNames.retryRung(of: owner, delay: .milliseconds(delay))
      case .group(let owner, let group): (try? EntityNames.groupQueue(of: owner, group: group)) ?? "refused"
      case .groupDeadLetters(let owner, let group):
        (try? EntityNames.groupDeadLetterQueue(of: owner, group: group)) ?? "refused"
      }
    }
  }

  private enum Exchange: Hashable {
    case type(EventType)
    case rung(QueueOwner, milliseconds: Int)

    var name: String {
      switch self {
      case .type(let type): EntityNames.exchange(of: type)
      case .rung(let owner, let delay): EntityNames.retryRung(of: owner, delay: .milliseconds(delay))
      }
    }
  }

  private struct Namespace<Entity: Hashable> {
    var owners: [String: Entity] = [:]
    var collisions: [String] = []
    var tooLong: [String] = []

    mutating func add(_ entity: Entity, named name: String) {
      if let other = owners.updateValue(entity, forKey: name), other != entity {
        collisions.append("\(name): \(other) and \(entity)")
      }
      // A queue or exchange name is an AMQP short string.
      if name.utf8.count > 255 { tooLong.append(name) }
    }
  }

  private func check(owners: [QueueOwner], types: [EventType], groups: [String], delays: [Int], _ comment: Comment) {
    var queues = Namespace<Queue>()
    var exchanges = Namespace<Exchange>()
    for type in types { exchanges.add(.type(type), named: Exchange.type(type).name) }
    for owner in owners {
      var all: [Queue] = types.flatMap { [.work(owner, $0), .deadLetters(owner, $0)] }
      all += groups.flatMap { [.group(owner, $0), .groupDeadLetters(owner, $0)] }
      all += delays.map { .rung(owner, milliseconds: $0) }
      for queue in all { queues.add(queue, named: queue.name) }
      for delay in delays {
        exchanges.add(.rung(owner, milliseconds: delay), named: Exchange.rung(owner, milliseconds: delay).name)
      }
    }
    #expect(queues.collisions.isEmpty, comment)
    #expect(exchanges.collisions.isEmpty, comment)
    #expect(queues.tooLong.isEmpty, comment)
    #expect(exchanges.tooLong.isEmpty, comment)
  }

  @Test func theNamesOfTheDesign() throws {
    let mailer = try QueueOwner(service: "mailer")
    let audit = try QueueOwner(service: "mailer", subscription: "audit")
    #expect(EntityNames.exchange(of: "user.created") == "events.user.created")
    #expect(EntityNames.workQueue(of: mailer, type: "user.created") == "mailer.user.created")
    #expect(EntityNames.workQueue(of: audit, type: "user.created") == "mailer_audit.user.created")
    #expect(EntityNames.deadLetterQueue(of: mailer, type: "user.created") == "mailer.dead.user.created")
    #expect(EntityNames.deadLetterQueue(of: audit, type: "user.created") == "mailer_audit.dead.user.created")
  }

  @Test func everyCombinationOfAwkwardPartsHasItsOwnName() throws {
    let parts = ["a", "b", "-", "a-b", "retry", "dead", "group", "events", "1s", "500ms"]
    var owners: [QueueOwner] = []
    for service in parts {
      owners.append(try QueueOwner(service: ServiceName(service)))
      for subscription in parts {
        owners.append(try QueueOwner(service: ServiceName(service), subscription: subscription))
      }
    }
    let segments = ["a", "a_b", "retry", "dead", "group", "1s", "a_dead", "-"]
    var types: [EventType] = []
    for one in segments {
      for two in [""] + segments {
        for three in [""] + segments where !(two.isEmpty && !three.isEmpty) {
          if let type = try? EventType([one, two, three].filter { !$0.isEmpty }.joined(separator: ".")) {
            types.append(type)
          }
        }
      }
    }
    #expect(types.count > 300)
    check(
      owners: owners, types: types, groups: parts, delays: [1, 500, 1000, 1001, 60_000, 500_000], "the exhaustive part")
  }

  @Test func randomPartsHaveTheirOwnNames() throws {
    var random = SeededGenerator()
    func ownerPart(_ random: inout SeededGenerator) -> String {
      random.oneIn(3)
        ? random.pick(["retry", "dead", "group", "events", "a", "b"]) : random.text(of: "ab-01", length: 1...5)
    }
    func typeName(_ random: inout SeededGenerator) -> String {
      let segments = ["retry", "dead", "group", "1s", "500ms", "a", "b"]
      return (0..<random.int(1...4))
        .map { _ in random.oneIn(2) ? random.pick(segments) : random.text(of: "ab-_0", length: 1...4) }
        .joined(separator: ".")
    }
    var owners: Set<QueueOwner> = []
    var types: Set<EventType> = []
    var groups: Set<String> = []
    for _ in 0..<120 {
      let subscription = random.oneIn(2) ? ownerPart(&random) : nil
      owners.insert(try QueueOwner(service: ServiceName(ownerPart(&random)), subscription: subscription))
      if let type = try? EventType(typeName(&random)) { types.insert(type) }
      groups.insert(ownerPart(&random))
    }
    let delays = Set((0..<40).map { _ in random.oneIn(2) ? random.int(1...100) * 1000 : random.int(1...100_000) })
    check(owners: Array(owners), types: Array(types), groups: Array(groups), delays: Array(delays), random.replay)
  }

  @Test func delaysAreSpelledInOneWay() throws {
    var seen: [String: Int] = [:]
    let owner = try QueueOwner(service: "s")
    func spelled(_ delay: Int) -> String { EntityNames.retryRung(of: owner, delay: .milliseconds(delay)) }
    for delay in 1...20_000 { #expect(seen.updateValue(delay, forKey: spelled(delay)) == nil) }
    #expect([500, 1000, 60_000].map(spelled) == ["s.retry.500ms", "s.retry.1s", "s.retry.60s"])
  }

  /// 255 bytes are what the protocol has for a name; the longest owner and the longest type must fit in them.
  @Test func theLongestNamesFitInAShortString() throws {
    let type = try EventType(String(repeating: "t", count: 128))
    let service = try ServiceName(String(repeating: "s", count: 64))
    var longest = try QueueOwner(service: service)
    for length in 1...64 {
      if let owner = try? QueueOwner(service: service, subscription: String(repeating: "n", count: length)) {
        longest = owner
      }
    }
    #expect(longest.subscription != nil)
    check(
      owners: [longest], types: [type], groups: [String(repeating: "g", count: 64)], delays: [Int.max], "\(longest)")
  }

  @Test func anOwnerThatIsTooLongForItsQueuesSaysSo() throws {
    let service = try ServiceName(String(repeating: "s", count: 64))
    let error = #expect(throws: WarrenError.self) {
      try QueueOwner(service: service, subscription: String(repeating: "n", count: 64))
    }
    #expect(error?.code == .invalidName)
    #expect(error?.message.contains("120 bytes") == true)
    #expect(
      try QueueOwner(service: service, subscription: String(repeating: "n", count: 55)).description.utf8.count == 120)
  }

  @Test func theTypeOfAnExchangeIsReadBack() throws {
    var random = SeededGenerator()
    for _ in 0..<500 {
      guard let type = try? EventType(random.text(of: "ab.-_09", length: 1...20)) else { continue }
      #expect(EntityNames.type(ofExchange: EntityNames.exchange(of: type)) == type, random.replay)
    }
  }

  @Test(arguments: [
    "", "events", "events.", "events..a", "events.A", "events.a ", "events.dead", "events.dead.a", "events.retry.1s",
    "Events.a",
    "event.a", "amq.topic", "xevents.a", "events.\u{301}a", " events.a", "mailer.retry.1s",
  ])
  func otherExchangesAreNotOurs(_ exchange: String) {
    #expect(EntityNames.type(ofExchange: exchange) == nil)
  }
}
