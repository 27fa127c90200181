import Testing

@testable import WarrenRabbitMQ

@Suite struct ConfirmWindowTests {
  private typealias Window = ConfirmWindow<Int>

  /// What was settled, in order.
  private func settle(
    _ window: inout Window, _ tag: UInt64, multiple: Bool = false, accepted: Bool = true
  ) -> [Settled] {
    var settled: [Settled] = []
    window.settle(tag, multiple: multiple, accepted: accepted) { settled.append(Settled(item: $0, verdict: $1)) }
    return settled
  }

  private struct Settled: Equatable {
    var item: Int
    var verdict: Window.Verdict
  }

  private func filled(_ count: Int) -> Window {
    var window = Window(maximumCount: 100, maximumBytes: 100_000)
    for item in 1...count { #expect(window.append(item, size: 10) == UInt64(item)) }
    return window
  }

  @Test func oneAckSettlesOnePublishAndAMultipleOneAllUpToIt() {
    var window = filled(5)
    #expect(settle(&window, 2) == [Settled(item: 2, verdict: .acked)])
    #expect(
      settle(&window, 4, multiple: true)
        == [1, 3, 4].map { Settled(item: $0, verdict: .acked) })
    #expect(window.count == 1)
    #expect(window.bytes == 10)
  }

  @Test func tagZeroWithMultipleIsEverythingAndWithoutItNothing() {
    var window = filled(3)
    #expect(settle(&window, 0).isEmpty)
    #expect(settle(&window, 0, multiple: true, accepted: false) == (1...3).map { Settled(item: $0, verdict: .nacked) })
    #expect(window.isEmpty)
    #expect(settle(&window, 0, multiple: true).isEmpty)
  }

  @Test func unknownAndRepeatedTagsSettleNothing() {
    var window = filled(3)
    #expect(settle(&window, 4).isEmpty)
    #expect(settle(&window, 4, multiple: true).isEmpty)
    #expect(settle(&window, .max, multiple: true).isEmpty)
    #expect(settle(&window, 1).count == 1)
    #expect(settle(&window, 1).isEmpty)
    #expect(settle(&window, 1, multiple: true).isEmpty)
    #expect(settle(&window, 3).count == 1)
    #expect(settle(&window, 3).isEmpty)
    #expect(window.count == 1)
  }

  @Test func aReturnIsToldByTheAckAndNotByANack() {
    var window = filled(3)
    window.markReturned(1, reason: "no queue")
    window.markReturned(2, reason: "no queue either")
    window.markReturned(9, reason: "never written")
    #expect(settle(&window, 1) == [Settled(item: 1, verdict: .returned("no queue"))])
    #expect(settle(&window, 2, accepted: false) == [Settled(item: 2, verdict: .nacked)])
    #expect(settle(&window, 3) == [Settled(item: 3, verdict: .acked)])
    // A return that comes late finds nothing to mark.
    window.markReturned(3, reason: "late")
    #expect(window.append(4, size: 1) == 4)
    #expect(settle(&window, 4) == [Settled(item: 4, verdict: .acked)])
  }

  @Test func resetGivesBackWhatIsOpenInOrderAndTagsBeginAtOneAgain() {
    var window = filled(4)
    window.markReturned(3, reason: "no queue")
    _ = settle(&window, 2)
    #expect(window.reset() == [1, 3, 4])
    #expect(window.isEmpty)
    #expect(window.bytes == 0)
    #expect(settle(&window, 3).isEmpty)
    #expect(window.append(7, size: 1) == 1)
    #expect(settle(&window, 1) == [Settled(item: 7, verdict: .acked)])
  }

  @Test func bothBoundsHoldAndAnItemOverTheWholeBoundGoesAlone() {
    var byCount = Window(maximumCount: 2, maximumBytes: 1000)
    #expect(byCount.hasRoom(for: 1))
    _ = byCount.append(1, size: 1)
    #expect(byCount.hasRoom(for: 1))
    _ = byCount.append(2, size: 1)
    #expect(!byCount.hasRoom(for: 1))

    var byBytes = Window(maximumCount: 100, maximumBytes: 1000)
    #expect(byBytes.hasRoom(for: 5000))
    _ = byBytes.append(1, size: 600)
    #expect(byBytes.hasRoom(for: 400))
    #expect(!byBytes.hasRoom(for: 401))
    #expect(!byBytes.hasRoom(for: 5000))
    _ = settle(&byBytes, 1)
    _ = byBytes.append(2, size: 5000)
    #expect(!byBytes.hasRoom(for: 0))
    _ = settle(&byBytes, 2)
    #expect(byBytes.hasRoom(for: 5000))
  }

  /// The same rules, without a ring: a dictionary from tag to what is open.
  private struct Model {
    struct Entry {
      var item: Int
      var size: Int
      var returned: String?
    }
    var open: [UInt64: Entry] = [:]
    var written: UInt64 = 0

    mutating func settle(_ tag: UInt64, multiple: Bool, accepted: Bool) -> [Settled] {
      var tags: [UInt64] = [tag]
      if multiple {
        if tag > written { return [] }
        tags = tag == 0 ? open.keys.sorted() : open.keys.filter { $0 <= tag }.sorted()
      }
      return tags.compactMap { tag in
        guard let entry = open.removeValue(forKey: tag) else { return nil }
        guard accepted else { return Settled(item: entry.item, verdict: .nacked) }
        return Settled(item: entry.item, verdict: entry.returned.map { .returned($0) } ?? .acked)
      }
    }
  }

  @Test func randomSequencesAgreeWithTheModel() async {
    var random = ReplayableRandom()
    for _ in 0..<1000 {
      await Task.yield()
      let (count, bytes) = (random.int(1...20), random.int(1...200))
      var window = Window(maximumCount: count, maximumBytes: bytes)
      var model = Model()
      var item = 0
      for _ in 0..<random.int(1...80) {
        switch random.int(0...9) {
        case 0...4:
          let size = random.int(0...60)
          let bytesOpen = model.open.values.reduce(0) { $0 + $1.size }
          let hasRoom = model.open.isEmpty || (model.open.count < count && bytesOpen + size <= bytes)
          guard window.hasRoom(for: size) == hasRoom else {
            Issue.record("hasRoom(for: \(size)) is \(!hasRoom). \(random.replay)")
            return
          }
          guard hasRoom else { continue }
          item += 1
          model.written += 1
          model.open[model.written] = .init(item: item, size: size)
          #expect(window.append(item, size: size) == model.written, random.replay)
        case 5:
          let tag = UInt64(random.int(0...Int(model.written) + 2))
          model.open[tag]?.returned = "r\(item)"
          window.markReturned(tag, reason: "r\(item)")
        case 6 where random.oneIn(4):
          #expect(window.reset() == model.open.sorted { $0.key < $1.key }.map(\.value.item), random.replay)
          model = Model()
        default:
          let tag = random.oneIn(30) ? .max : UInt64(random.int(0...Int(model.written) + 2))
          let (multiple, accepted) = (random.oneIn(3), !random.oneIn(4))
          let expected = model.settle(tag, multiple: multiple, accepted: accepted)
          #expect(settle(&window, tag, multiple: multiple, accepted: accepted) == expected, random.replay)
        }
        #expect(window.count == model.open.count, random.replay)
        #expect(window.bytes == model.open.values.reduce(0) { $0 + $1.size }, random.replay)
      }
    }
  }
}
