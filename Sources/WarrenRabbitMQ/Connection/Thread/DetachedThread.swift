import CRabbitMQ

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

private final class ThreadBody {
  let name: String
  let run: @Sendable () -> Void
  init(name: String, run: @escaping @Sendable () -> Void) {
    self.name = name
    self.run = run
  }
}

/// Starts a thread that takes no signals, so that they reach the program's own handlers.
func startDetachedThread(name: String, stackSize: Int, _ run: @escaping @Sendable () -> Void) {
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  pthread_attr_setstacksize(&attributes, stackSize)
  defer { pthread_attr_destroy(&attributes) }

  var all = sigset_t()
  var before = sigset_t()
  sigfillset(&all)
  pthread_sigmask(SIG_SETMASK, &all, &before)
  defer { pthread_sigmask(SIG_SETMASK, &before, nil) }

  let body = Unmanaged.passRetained(ThreadBody(name: name, run: run))
  #if canImport(Glibc) || canImport(Musl)
    var thread = pthread_t()
    let status = pthread_create(
      &thread, &attributes,
      { raw in
        guard let raw else { return nil }
        let body = Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue()
        warren_name_thread(body.name)
        body.run()
        return nil
      }, body.toOpaque())
  #else
    var thread: pthread_t?
    let status = pthread_create(
      &thread, &attributes,
      { raw in
        let body = Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue()
        warren_name_thread(body.name)
        body.run()
        return nil
      }, body.toOpaque())
  #endif
  // No thread can be had only when the process is at its limits; the work is then done late rather than never.
  if status != 0 {
    let owned = body.takeRetainedValue()
    Task.detached { owned.runFallback() }
  }
}

/// Unchecked: it is handed over once, from who starts the thread to the one that runs it.
extension ThreadBody: @unchecked Sendable {
  fileprivate func runFallback() { run() }
}
