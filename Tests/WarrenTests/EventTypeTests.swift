import Testing
import Warren

@Suite struct EventTypeTests {
  @Test(arguments: [
    "a", "user.created", "shop.order.placed.v2", "a-b_c.d", "1", "-", "_", "0.1.2", "deadline.passed", "retry-1s",
    "x.dead",
    "x.retry.1s", "group_a", "groups", String(repeating: "a", count: 128),
  ])
  func validNames(_ name: String) throws {
    let type = try EventType(name)
    #expect(type.name == name)
    #expect(type.description == name)
    try type.validate()
  }

  @Test(arguments: [
    ("", "is empty"),
    (String(repeating: "a", count: 129), "longer than 128 bytes"),
    ("User.created", "'U'"), ("user created", "U+20"), ("user/created", "'/'"), ("usér", "'é'"),
    ("user.#", "'#'"), ("user.*", "'*'"), ("a\u{301}", "contains"), ("ａ", "contains"), ("é", "contains"),
    (".a", "empty segment"), ("a.", "empty segment"), ("a..b", "empty segment"), (".", "empty segment"),
    ("retry", "reserved"), ("dead", "reserved"), ("group", "reserved"), ("retry.1s", "reserved"),
    ("dead.user.created", "reserved"),
    ("group.x", "reserved"),
  ])
  func invalidNamesSayWhatIsWrong(_ name: String, _ part: String) {
    let error = #expect(throws: WarrenError.self) { try EventType(name) }
    #expect(error?.code == .invalidName)
    #expect(error?.message.contains(part) == true, "\(String(describing: error))")
    #expect(error?.isRetryable == false)
  }

  @Test func controlCharactersAreNamedByTheirNumber() {
    for (name, part) in [
      ("user.created\n", "U+A"), ("a\0", "U+0"), ("a\u{1b}[0m", "U+1B"), ("a\u{9b}", "U+9B"), ("a\u{200b}", "U+200B"),
    ] {
      #expect(warrenError { _ = try EventType(name) }?.message.contains("contains \(part);") == true, "\(part)")
    }
  }

  @Test func literalsAreTakenAsTheyAreAndReportedWhenChecked() {
    let type: EventType = "User Created"
    #expect(type.name == "User Created")
    #expect(throws: WarrenError.self) { try type.validate() }
  }

  @Test func aLiteralEqualsTheSameNameFromOutside() throws {
    let literal: EventType = "user.created"
    let name = ["user", "created"].joined(separator: ".")
    let checked = try EventType(name)
    #expect(checked == literal)
    #expect(Set([literal, checked, "user.deleted"]).count == 2)
  }

  @Test func sortsByName() throws {
    #expect((["b", "a.b", "a", "a-b"] as [EventType]).sorted() == ["a", "a-b", "a.b", "b"])
  }

  /// The rules again, written in another way.
  private func isValid(_ name: String) -> Bool {
    let allowed = Set("abcdefghijklmnopqrstuvwxyz0123456789._-".utf8)
    let bytes = Array(name.utf8)
    let segments = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return (1...128).contains(bytes.count) && bytes.allSatisfy(allowed.contains) && segments.allSatisfy { !$0.isEmpty }
      && !["retry", "dead", "group"].contains(String(decoding: segments[0], as: UTF8.self))
  }

  @Test func randomNamesAreJudgedByTheRules() {
    var random = SeededGenerator()
    let pieces = [
      "a", "z9", ".", "-", "_", "retry", "dead", "group", "..", "A", " ", "é", "#", "e\u{301}", "\r\n", "\0",
    ]
    var accepted = 0
    for _ in 0..<20_000 {
      let name = (0..<random.int(0...5)).map { _ in random.oneIn(3) ? random.pick(pieces) : random.pick(pieces[..<6]) }
        .joined()
      let isAccepted = (try? EventType(name)) != nil
      if isAccepted { accepted += 1 }
      if isAccepted != isValid(name) { Issue.record("\(name.debugDescription): \(isAccepted) (\(random.replay))") }
    }
    #expect(accepted > 1000, "the generator makes too few valid names to show anything")
  }

  // Not as arguments of the test: the runner prints those as they are.
  @Test func anErrorAboutAHostileNameIsOneShortHarmlessLine() {
    for name in ["a\nb\u{1b}[31mred", "a\u{202e}b", "a\u{7f}", "a\u{2028}b", String(repeating: "A", count: 1_000_000)] {
      let error = warrenError { _ = try EventType(name) }
      #expect(error?.code == .invalidName)
      #expect(error?.message.isOneHarmlessLine == true)
      #expect((error?.message.utf8.count ?? 0) < 400)
    }
  }
}
