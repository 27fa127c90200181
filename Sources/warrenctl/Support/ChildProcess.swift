import Foundation
import WarrenSupport

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A process that was started here, and its end.
///
/// Not Foundation's `Process`: on Linux its `run()` reads behind the end of a directory entry of /proc/self/fd, and with many
/// processes that ends this one now and then (swift-corelibs-foundation, pull request 5472; in Swift 6.3.1).
struct ChildProcess: Sendable {
  enum End: Sendable {
    case exit(Int32)
    case signal(Int32)
  }

  struct Failed: Error, CustomStringConvertible {
    var description: String
  }

  let id: pid_t
  private let ended: AsyncStream<End>

  /// Starts `program` as the leader of a process group, with no signal blocked and those that end a process not ignored. It has
  /// this one's standard output, and of the other descriptors those that are not closed by an exec.
  /// - Throws: ``Failed`` when the system says no, with its reason.
  init(
    _ program: String, _ arguments: [String], environment: [String: String], input: Int32, errors: Int32
  ) throws(Failed) {
    #if canImport(Darwin)
      var actions: posix_spawn_file_actions_t?
      var attributes: posix_spawnattr_t?
      let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_CLOEXEC_DEFAULT
    #else
      var actions = posix_spawn_file_actions_t()
      var attributes = posix_spawnattr_t()
      let flags = Int32(POSIX_SPAWN_SETPGROUP) | Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)
    #endif
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2] { sigaddset(&signals, number) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(flags))

    var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for text in words + variables { free(text) } }
    var started = pid_t()
    let problem = Self.starting.withLock { _ in
      posix_spawn(&started, program, &actions, &attributes, &words, &variables)
    }
    guard problem == 0 else { throw Failed(description: String(cString: strerror(problem))) }
    id = started
    let (stream, continuation) = AsyncStream<End>.makeStream()
    ended = stream
    Thread.detachNewThread { [id] in
      continuation.yield(Self.wait(for: id))
      continuation.finish()
    }
  }

  private static let starting = Lock(())

  /// Makes descriptors that no process gets by the way: none is started between their making and their marking. One that held
  /// the writing end of another's pipe would keep that from its end.
  static func marked<R>(_ descriptors: (R) -> [Int32], _ make: () -> R) -> R {
    starting.withLock { _ in
      let made = make()
      for descriptor in descriptors(made) where descriptor >= 0 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
      return made
    }
  }

  /// Once. Nil when the task is cancelled before.
  func end() async -> End? { await ended.first { _ in true } }

  private static func wait(for id: pid_t) -> End {
    var status: Int32 = 0
    while waitpid(id, &status, 0) < 0 {
      // Somebody else has waited for it: how it ended is not known.
      if errno != EINTR { return .signal(SIGKILL) }
    }
    let signal = status & 0x7f
    return signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal)
  }
}
