import Testing

@testable import WarrenRabbitMQ

/// Who is handled beside others, who alone, and who not at all.
@Suite struct CrashWindowTests {
  @Test func itOpensWithTheFirstThatHasNotComeBackTwice() {
    for returns in 0...1 {
      var window = CrashWindow(limit: 200, .probing)
      #expect(window.isProbing)
      #expect(window.received(returns: returns) == .handleAndOpen)
      #expect(!window.isProbing)
      #expect(window.received(returns: 1) == .handle)
    }
  }

  @Test func aSuspiciousOneIsHandledAloneUpToTheSixthReturn() {
    var window = CrashWindow(limit: 3, .probing)
    for returns in [2, 3, 4, 5] {
      #expect(window.received(returns: returns) == .handle)
      #expect(window.isProbing)
    }
    #expect(window.received(returns: 6) == .bury)
    #expect(window.received(returns: 70) == .bury)
    // Then the way to the open window is as long as the window is wide.
    for _ in 0..<3 { #expect(window.received(returns: 0) == .handle) }
    #expect(window.received(returns: 0) == .handleAndOpen)
  }

  @Test func whoHasClosedAWindowIsWary() {
    var window = CrashWindow(limit: 2, .wary)
    #expect(window.received(returns: 0) == .handle)
    #expect(window.received(returns: 1) == .handle)
    #expect(window.received(returns: 0) == .handleAndOpen)
  }

  @Test func aSuspiciousOneAmongOthersClosesTheWindow() {
    var window = CrashWindow(limit: 200, .probing)
    _ = window.received(returns: 0)
    #expect(window.received(returns: 2) == .hold)
    #expect(window.isClosing)
    // Those above suspicion are handled; a sixth return among others is no proof.
    #expect(window.received(returns: 0) == .handle)
    #expect(window.received(returns: 9) == .hold)
    let mayHandle = window.mayHandle(held: 2)
    #expect(!mayHandle)
  }

  @Test func theOnlySuspiciousOneIsHandledWhereItIs() {
    var window = CrashWindow(limit: 200, .probing)
    _ = window.received(returns: 0)
    #expect(window.received(returns: 2) == .hold)
    let first = window.mayHandle(held: 1)
    #expect(first)
    #expect(window.received(returns: 0) == .hold)
    // Once: then the reading is over.
    let second = window.mayHandle(held: 1)
    #expect(!second)
    #expect(window.isClosing)
  }

  @Test func withAPrefetchOfOneEveryoneIsAlone() {
    var window = CrashWindow(limit: 1, .probing)
    #expect(window.received(returns: 0) == .handle)
    #expect(window.received(returns: 5) == .handle)
    #expect(window.received(returns: 6) == .bury)
    #expect(window.received(returns: 0) == .handle)
    #expect(!window.isClosing)
  }

  @Test func withoutProbingNothingIsSuspectedBeforeItIsAmongOthers() {
    var window = CrashWindow(limit: 10, .open)
    #expect(!window.isProbing)
    #expect(window.received(returns: 0) == .handle)
  }

  @Test func whereOrderCountsTheWindowStaysAndOnlyTheFirstIsBuried() {
    var window = CrashWindow(limit: 5, .inOrder)
    #expect(!window.isProbing)
    #expect(window.received(returns: 49) == .handle)
    #expect(window.isSequential)
    #expect(window.received(returns: 60) == .handle)
    #expect(window.received(returns: 24) == .handle)
    #expect(!window.isSequential && !window.isClosing)
    var next = CrashWindow(limit: 5, .inOrder)
    #expect(next.received(returns: 50) == .bury)
    #expect(next.received(returns: 50) == .handle)
  }

  /// Against a queue that counts as RabbitMQ does, with instances that die whenever they run the culprit, and take turns at
  /// random: it alone is buried.
  @Test(arguments: 0..<400) func onlyTheCulpritIsBuried(seed: Int) {
    var random = ReplayableRandom(fixed: UInt64(seed))
    var model = Model(&random)
    let ends = model.run(&random)
    #expect(ends, "it does not end")
    #expect(model.buried == [model.culprit])
    let innocents = model.highest.filter { $0.key != model.culprit }.map(\.value).max() ?? 0
    #expect(innocents <= CrashWindow.dead, "\(model.instances.count) instances, limit \(model.limit)")
  }

  private struct Model {
    struct Delivery {
      var id: Int
      var returns: Int
      var runs = true
    }
    struct Instance {
      var window: CrashWindow
      var unacknowledged: [Delivery] = []
      /// What it has given back without dying.
      var own: [Int: Int] = [:]
    }
    var queue: [Delivery]
    let culprit: Int
    let limit: Int
    var instances: [Instance]
    var buried: [Int] = []
    var highest: [Int: Int] = [:]

    init(_ random: inout ReplayableRandom) {
      let limit = random.int(2...60)
      self.limit = limit
      queue = (0..<random.int(1...200)).map { Delivery(id: $0, returns: 0) }
      culprit = random.int(0...(queue.count - 1))
      instances = (0..<random.int(1...3)).map { _ in Instance(window: CrashWindow(limit: limit, .probing)) }
    }

    func window(isWary: Bool) -> CrashWindow { CrashWindow(limit: limit, isWary ? .wary : .probing) }

    mutating func run(_ random: inout ReplayableRandom) -> Bool {
      for _ in 0..<200_000 {
        if queue.isEmpty, instances.allSatisfy(\.unacknowledged.isEmpty) { return true }
        let i = random.int(0...(instances.count - 1))
        let window = instances[i].window
        let room = (window.isProbing ? 1 : limit) - instances[i].unacknowledged.count
        if !queue.isEmpty, room > 0, !window.isClosing, !random.oneIn(3) {
          take(random.pick([1, 2, room]), room, i)
        } else if let index = instances[i].unacknowledged.firstIndex(where: \.runs) {
          let isCulprit = instances[i].unacknowledged[index].id == culprit
          if isCulprit { giveBack(i, hasDied: true) } else { instances[i].unacknowledged.remove(at: index) }
        } else if window.isClosing {
          let held = instances[i].unacknowledged.count
          if instances[i].window.mayHandle(held: held) {
            instances[i].unacknowledged[0].runs = true
          } else {
            giveBack(i, hasDied: false)
          }
        }
      }
      return false
    }

    private mutating func take(_ count: Int, _ room: Int, _ i: Int) {
      for _ in 0..<min(count, room, queue.count) {
        var next = queue.removeFirst()
        switch instances[i].window.received(returns: next.returns - (instances[i].own[next.id] ?? 0)) {
        case .handle, .handleAndOpen: instances[i].unacknowledged.append(next)
        case .hold:
          next.runs = false
          instances[i].unacknowledged.append(next)
        case .bury: buried.append(next.id)
        }
        // One at a time as long as it probes.
        if instances[i].window.isProbing { return }
      }
    }

    private mutating func giveBack(_ i: Int, hasDied: Bool) {
      let returned = instances[i].unacknowledged.map { Delivery(id: $0.id, returns: $0.returns + 1) }
      for one in returned {
        highest[one.id] = max(highest[one.id] ?? 0, one.returns)
        instances[i].own[one.id, default: 0] += 1
      }
      queue = returned + queue
      instances[i].unacknowledged = []
      if hasDied { instances[i].own = [:] }
      instances[i].window = window(isWary: !hasDied)
    }
  }
}
