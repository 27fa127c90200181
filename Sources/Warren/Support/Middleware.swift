/// Something that runs around every publish or every handler of a service: logging, authorisation, tenants, timing.
///
/// Call `next` to go on, with the subject as it is or changed; throw, or return without calling it, to stop. What
/// `next` throws can be seen, replaced or swallowed: a handler whose error is swallowed counts as having succeeded.
///
/// ```swift
/// let tenant: Middleware<Delivery> = { delivery, next in
///   try await Tenant.$current.withValue(delivery.metadata.headers["tenant"]?.string) { try await next(delivery) }
/// }
/// ```
public typealias Middleware<Subject: Sendable> =
  @Sendable (_ subject: Subject, _ next: @Sendable (Subject) async throws -> Void) async throws -> Void

extension Array {
  /// Runs `last` inside all middlewares, the first one outermost.
  package func run<Subject: Sendable>(
    _ subject: Subject, _ last: @escaping @Sendable (Subject) async throws -> Void
  ) async throws where Element == Middleware<Subject> {
    guard !isEmpty else { return try await last(subject) }
    var next = last
    for middleware in reversed() {
      let inner = next
      next = { try await middleware($0, inner) }
    }
    try await next(subject)
  }
}
