import Testing
import Warren
import WarrenSupport

@Suite struct LockTests {
  @Test func countsOfManyTasksAddUp() async {
    let count = Lock(0)
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<5000 { count.withLock { $0 += 1 } } }
      }
    }
    #expect(count.withLock { $0 } == 40_000)
  }

  @Test func anErrorLeavesTheLockUsableAndTheChangeInPlace() {
    let lock = Lock([1])
    #expect(throws: SampleFailure()) {
      try lock.withLock { value throws(SampleFailure) in
        value.append(2)
        throw SampleFailure()
      }
    }
    #expect(lock.withLock { $0 } == [1, 2])
  }
}
