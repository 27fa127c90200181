#if WARREN_TSAN
  #if canImport(Glibc)
    import Glibc
  #else
    import Darwin
  #endif

  /// The pthread twin of the lock below: ThreadSanitizer does not understand `Mutex` on Linux and reports false races.
  /// Unchecked, because the two pointers are: only `withLock` follows them, inside the mutex.
  public struct InlineLock<Value>: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let value: UnsafeMutablePointer<Value>

    /// A lock around `value`.
    public init(_ value: sending Value) {
      mutex = .allocate(capacity: 1)
      mutex.initialize(to: pthread_mutex_t())
      pthread_mutex_init(mutex, nil)
      self.value = .allocate(capacity: 1)
      self.value.initialize(to: value)
    }

    deinit {
      pthread_mutex_destroy(mutex)
      mutex.deallocate()
      value.deinitialize(count: 1)
      value.deallocate()
    }

    /// Runs `body` with exclusive access to the value.
    public borrowing func withLock<R, E: Error>(_ body: (inout Value) throws(E) -> R) throws(E) -> R {
      pthread_mutex_lock(mutex)
      defer { pthread_mutex_unlock(mutex) }
      return try body(&value.pointee)
    }
  }
#else
  public import Synchronization

  /// The only lock in Warren, as a part of the object that it is in: what is made for every event has no room for an object
  /// more. Never held across a suspension, and no continuation is resumed inside it.
  ///
  /// In a module of its own, which no product offers, because only what is public can be inlined into another module: as a
  /// generic function it looked its types up for every event, several times, which was a sixth of the work of a publish.
  public struct InlineLock<Value>: ~Copyable, Sendable {
    @usableFromInline let mutex: Mutex<Unchecked<Value>>

    /// A lock around `value`.
    @inlinable
    public init(_ value: sending Value) {
      mutex = Mutex(Unchecked(value))
    }

    /// Runs `body` with exclusive access to the value.
    @inlinable @inline(__always)
    public borrowing func withLock<R, E: Error>(_ body: (inout Value) throws(E) -> R) throws(E) -> R {
      let result = mutex.withLock { (guarded) -> Unchecked<Result<R, E>> in
        do throws(E) {
          return Unchecked(.success(try body(&guarded.value)))
        } catch {
          return Unchecked(.failure(error))
        }
      }
      return try result.value.get()
    }
  }

  /// `Mutex` asks for `sending` in and out of its closure, which a `body` of any kind cannot promise. What the lock
  /// guards leaves it only as what `body` returns.
  @frozen
  public struct Unchecked<Value>: @unchecked Sendable {
    @usableFromInline var value: Value
    @usableFromInline init(_ value: Value) { self.value = value }
  }
#endif

/// The same lock, for several owners.
public final class Lock<Value>: Sendable {
  @usableFromInline let inline: InlineLock<Value>

  /// A lock around `value`.
  @inlinable
  public init(_ value: sending Value) { inline = InlineLock(value) }

  /// Runs `body` with exclusive access to the value.
  @inlinable @inline(__always)
  public func withLock<R, E: Error>(_ body: (inout Value) throws(E) -> R) throws(E) -> R {
    try inline.withLock(body)
  }
}
