package import Foundation

extension Pipe {
  /// Gives what comes to `body`, to the end, which is empty: on a thread of its own, which is there until then.
  ///
  /// Not by `readabilityHandler`: with many processes at once that ends this one now and then (a bad pointer in libdispatch's
  /// `_dispatch_event_loop_drain`, seen with Swift 6.3.1 on Linux).
  package func whenReadable(_ body: @escaping @Sendable (Data) -> Void) {
    let handle = fileHandleForReading
    Thread.detachNewThread {
      while true {
        let data = handle.availableData
        body(data)
        if data.isEmpty { return }
      }
    }
  }
}
