import Testing

@testable import WarrenRabbitMQ

/// Reads a queue to its end although a consumer without acknowledgements gets no more than its prefetch, against a model of
/// the broker.
struct DeadLetterPagesTests {
  /// What a broker does: gives consumers the next messages up to their prefetch.
  private struct Model {
    var ready: [Int]
    var arrived: [Int] = []
    /// One for each consumer, with its prefetch.
    var consumers: [(held: [Int], size: Int)]

    mutating func deliver(atMost limit: Int) {
      for _ in 0..<limit {
        guard let first = ready.first, let free = consumers.firstIndex(where: { $0.held.count < $0.size }) else {
          return
        }
        ready.removeFirst()
        consumers[free].held.append(first)
        arrived.append(first)
      }
    }
    mutating func acknowledge(_ letter: Int) {
      for i in consumers.indices { consumers[i].held.removeAll { $0 == letter } }
    }
  }

  @Test func everyLetterIsLookedAtOnceInItsOrder() async {
    var random = ReplayableRandom()
    for _ in 0..<500 {
      await Task.yield()
      run(&random)
    }
  }

  private func run(_ random: inout ReplayableRandom) {
    let depth = random.int(0...400)
    var pages = DeadLetterPages(expected: depth, first: random.int(1...20))
    // More come behind those that were there.
    var model = Model(ready: Array(0..<(depth + 50)), consumers: [([], pages.size)])
    let bytes = random.oneIn(3) ? 30 << 20 : 100
    let stays = random.int(0...4)
    var underWay: [Int] = []
    var looked: [Int] = []
    for _ in 0..<100_000 {
      model.deliver(atMost: random.int(0...30))
      if !pages.isComplete, !model.arrived.isEmpty {
        let letter = model.arrived.removeFirst()
        pages.take(bytes: bytes)
        looked.append(letter)
        if random.int(0...3) < stays { pages.leave() } else { underWay.append(letter) }
        continue
      }
      switch pages.next() {
      case .settle:
        #expect(!underWay.isEmpty, random.replay)
        for _ in 0..<random.int(1...max(underWay.count, 1)) {
          let letter = underWay.removeFirst()
          if random.oneIn(5) {
            pages.leave()
          } else {
            pages.acknowledge()
            model.acknowledge(letter)
          }
        }
      case .turn(let size):
        #expect(underWay.isEmpty && size == pages.size, random.replay)
        // The page before is full: what comes now is the new one's.
        #expect(model.consumers.allSatisfy { $0.held.count == $0.size }, random.replay)
        if bytes > 1 << 20 { #expect(size <= max(20, 2), random.replay) }
        model.consumers.append(([], size))
      case .wait: #expect(model.consumers.contains { $0.held.count < $0.size }, random.replay)
      case .end:
        #expect(looked == Array(0..<depth), random.replay)
        #expect(underWay.isEmpty, random.replay)
        return
      }
    }
    Issue.record("no end at \(looked.count) of \(depth)")
  }

  @Test func pagesGrowUpToABound() {
    var pages = DeadLetterPages(expected: 100_000, first: 32)
    var sizes: [Int] = []
    while !pages.isComplete {
      for _ in 0..<pages.size where !pages.isComplete {
        pages.take(bytes: 1000)
        pages.leave()
      }
      if case .turn(let size) = pages.next() { sizes.append(size) }
    }
    #expect(sizes.prefix(9) == [64, 128, 256, 512, 1024, 2048, 4096, 8192, 8192])
    #expect(sizes.max() == 8192)
    let step = pages.next()
    #expect(step == .end)
  }
}
