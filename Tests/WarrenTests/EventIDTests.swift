import Foundation
import Testing
import Warren

@Suite struct EventIDTests {
  @Test func newIDsAreUUIDsOfVersion7WithTheCurrentTime() throws {
    let before = wallClockMilliseconds()
    for _ in 0..<1000 {
      let text = EventID().text
      #expect(
        text.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/) != nil, "\(text)")
      #expect(UUID(uuidString: text) != nil)
    }
    let stamp = try #require(UInt64(EventID().text.filter { $0 != "-" }.prefix(12), radix: 16))
    // The counter may borrow from the coming milliseconds when many ids are made at once, by this or another test.
    #expect(stamp >= before)
    #expect(stamp <= wallClockMilliseconds() + 60_000)
  }

  @Test func idsOfManyTasksAreUniqueAndSortInTheOrderTheyWereMade() async {
    let tasks = 8
    let each = 20_000
    let all = await withTaskGroup(of: [EventID].self) { group in
      for _ in 0..<tasks { group.addTask { (0..<each).map { _ in EventID() } } }
      var all: [EventID] = []
      for await ids in group {
        #expect(zip(ids, ids.dropFirst()).allSatisfy { $0.text < $1.text }, "ids of one task are out of order")
        all += ids
      }
      return all
    }
    #expect(all.count == tasks * each)
    #expect(Set(all).count == all.count)
  }

  /// An id that one task has handed to another is older than every id that the other makes afterwards.
  @Test func idsSortAcrossTasks() async {
    var previous = EventID()
    for _ in 0..<500 {
      let next = await Task.detached { EventID() }.value
      if next.text <= previous.text { Issue.record("\(next) was made after \(previous)") }
      previous = next
    }
  }

  @Test func theRandomPartDiffers() {
    let tails = (0..<2000).map { _ in EventID().text.suffix(17) }
    #expect(Set(tails).count == tails.count)
  }

  @Test(arguments: [
    "1", "order/42", "ORDER 42", "é🐇", "01890A5D-AC96-774B-BCCE-B302099A8057", " ", String(repeating: "x", count: 255),
    String(repeating: "é", count: 127),
  ])
  func foreignIDsAreKeptAsTheyAre(_ text: String) throws {
    let id = try EventID(text)
    #expect(id.text == text)
    #expect(id.description == text)
  }

  // Not as arguments of the test: the runner prints those as they are.
  @Test func unusableIDsAreRefused() {
    for text in [
      "", String(repeating: "x", count: 256), String(repeating: "é", count: 128), "a\nb", "a\0", "\u{7f}", "a\r\n",
      "\t",
      "\u{1b}[0m", "a\u{85}b", "a\u{9b}31mb",
    ] {
      let error = warrenError { _ = try EventID(text) }
      #expect(error?.code == .invalidMetadata, "\(text.debugDescription)")
      #expect(error?.message.isOneHarmlessLine == true)
    }
  }

  @Test func equalMeansTheSameBytes() throws {
    #expect(try EventID("a") == EventID("a"))
    #expect(try EventID("a") != EventID("A"))
    // One letter to Swift's String, two different messages to every other program.
    #expect(try EventID("caf\u{e9}") != EventID("cafe\u{301}"))
    #expect(try Set([EventID("caf\u{e9}"), EventID("cafe\u{301}"), EventID("caf\u{e9}")]).count == 2)
  }
}
