import Testing

@testable import WarrenRabbitMQ

@Suite struct RPCSlotsTests {
  @Test func oneIsOnTheWireAndOnlyItsOwnReplyAnswersIt() {
    var slots = RPCSlots<String, Int>()
    #expect(slots.isIdle)
    #expect(slots.answered(by: 1) == nil)
    slots.append("declare", reply: 11, slot: 1)
    slots.append("bind", reply: 21, slot: 2)
    #expect(!slots.isIdle)
    #expect(slots.outstanding == nil)
    #expect(slots.next(now: 7)?.request == "declare")
    #expect(slots.outstanding == "declare")
    #expect(slots.sentAt == 7)
    #expect(slots.next(now: 8) == nil)
    #expect(slots.answered(by: 21) == nil)
    #expect(slots.answered(by: 11)?.slot == 1)
    #expect(slots.answered(by: 11) == nil)
    #expect(slots.next(now: 9)?.slot == 2)
    #expect(slots.sentAt == 9)
    #expect(slots.answered(by: 21)?.slot == 2)
    #expect(slots.isIdle)
  }

  @Test func removingAllGivesTheOneOnTheWireFirst() {
    var slots = RPCSlots<String, Int>()
    for slot in 1...3 { slots.append("\(slot)", reply: 1, slot: slot) }
    _ = slots.next(now: 0)
    #expect(slots.removeAll() == [1, 2, 3])
    #expect(slots.isIdle)
    #expect(slots.answered(by: 1) == nil)
    #expect(slots.removeAll().isEmpty)
  }

  @Test func randomSequencesAgreeWithTheModel() async {
    var random = ReplayableRandom()
    for _ in 0..<1000 {
      await Task.yield()
      var slots = RPCSlots<Int, Int>()
      var waiting: [(id: Int, reply: UInt32)] = []
      var sent: (id: Int, reply: UInt32)?
      var ended: [Int] = []
      var id = 0
      for now in 0..<UInt64(random.int(1...60)) {
        switch random.int(0...6) {
        case 0, 1:
          id += 1
          let reply = UInt32(random.int(1...3))
          waiting.append((id, reply))
          slots.append(id, reply: reply, slot: id)
        case 2, 3:
          let next = slots.next(now: now)
          if sent == nil, !waiting.isEmpty {
            let first = waiting.removeFirst()
            sent = first
            #expect(next?.request == first.id && next?.slot == first.id, random.replay)
            #expect(slots.sentAt == now, random.replay)
          } else {
            #expect(next == nil, random.replay)
          }
        case 4, 5:
          let reply = UInt32(random.int(1...3))
          let answered = slots.answered(by: reply)
          if let request = sent, request.reply == reply {
            #expect(answered?.request == request.id && answered?.slot == request.id, random.replay)
            ended.append(request.id)
            sent = nil
          } else {
            #expect(answered == nil, random.replay)
          }
        default:
          guard random.oneIn(5) else { continue }
          let expected = (sent.map { [$0.id] } ?? []) + waiting.map(\.id)
          #expect(slots.removeAll() == expected, random.replay)
          ended += expected
          (sent, waiting) = (nil, [])
        }
        #expect(slots.isIdle == (sent == nil && waiting.isEmpty), random.replay)
        #expect(slots.outstanding == sent?.id, random.replay)
      }
      ended += slots.removeAll()
      // Each request ends once, in the order in which it was made.
      #expect(ended == Array(1...max(1, id)).filter { $0 <= id }, random.replay)
    }
  }
}
