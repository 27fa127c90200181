/// A typed handler: the event's value, decoded, and its context.
///
/// ```swift
/// On(UserCreated.self) { user, context in
///   try await mail.welcome(user.name)
/// }
/// ```
///
/// Returning acknowledges the event; throwing sends it to the dead letters with the error as the reason. A body that
/// cannot be decoded goes there at once. For an ``EventFamily`` it reads the queues of all the family's types.
public struct On<E: Event>: DeliveryHandler {
  private let body: @Sendable (E, HandlerContext) async throws -> Void
  public let queueOptions: QueueOptions

  /// Makes a handler.
  public init(
    _ type: E.Type, queue: QueueOptions = .init(),
    handle: @escaping @Sendable (_ event: E, _ context: HandlerContext) async throws -> Void
  ) {
    self.queueOptions = queue
    self.body = handle
  }

  public var eventTypes: [EventType] { E.eventTypes }
  public var isCatchAll: Bool { false }

  public func handle(_ delivery: Delivery) async -> HandlerResult {
    let event: E
    do throws(WarrenError) {
      event = try E.decoded(type: delivery.type, body: delivery.body)
    } catch {
      return HandlerResult(.deadLetter(.undecodable(error.message)))
    }
    return await HandlerScope.run(delivery, name: delivery.queue) { try await body(event, $0) }
  }
}

/// A handler that takes deliveries as they come, undecoded.
public struct OnRaw: DeliveryHandler {
  private let body: @Sendable (Delivery, HandlerContext) async throws -> Void
  public let eventTypes: [EventType]
  public let queueOptions: QueueOptions
  public var isCatchAll: Bool { false }

  /// Makes a handler for one or more event types.
  public init(
    _ types: EventType..., queue: QueueOptions = .init(),
    handle: @escaping @Sendable (_ delivery: Delivery, _ context: HandlerContext) async throws -> Void
  ) {
    self.init(types, queue: queue, handle: handle)
  }

  /// Makes a handler for a list of event types.
  public init(
    _ types: [EventType], queue: QueueOptions = .init(),
    handle: @escaping @Sendable (_ delivery: Delivery, _ context: HandlerContext) async throws -> Void
  ) {
    self.eventTypes = types
    self.queueOptions = queue
    self.body = handle
  }

  public func handle(_ delivery: Delivery) async -> HandlerResult {
    await HandlerScope.run(delivery, name: delivery.queue) { try await body(delivery, $0) }
  }
}

/// The catch-all of a service: handles what arrives in its queues with a type that no other handler takes. Without it,
/// such events go to the dead letters.
public struct Otherwise: DeliveryHandler {
  private let body: @Sendable (Delivery, HandlerContext) async throws -> Void

  /// Makes the handler.
  public init(handle: @escaping @Sendable (_ delivery: Delivery, _ context: HandlerContext) async throws -> Void) {
    self.body = handle
  }

  public var eventTypes: [EventType] { [] }
  public var queueOptions: QueueOptions { .init() }

  public func handle(_ delivery: Delivery) async -> HandlerResult {
    await HandlerScope.run(delivery, name: delivery.queue) { try await body(delivery, $0) }
  }
}

/// Collects the handlers of a subscriber.
@resultBuilder
public enum HandlerBuilder {
  public static func buildExpression(_ handler: some DeliveryHandler) -> [any DeliveryHandler] { [handler] }
  public static func buildExpression(_ handlers: [any DeliveryHandler]) -> [any DeliveryHandler] { handlers }
  public static func buildBlock(_ parts: [any DeliveryHandler]...) -> [any DeliveryHandler] { parts.flatMap(\.self) }
  public static func buildOptional(_ part: [any DeliveryHandler]?) -> [any DeliveryHandler] { part ?? [] }
  public static func buildEither(first part: [any DeliveryHandler]) -> [any DeliveryHandler] { part }
  public static func buildEither(second part: [any DeliveryHandler]) -> [any DeliveryHandler] { part }
  public static func buildArray(_ parts: [[any DeliveryHandler]]) -> [any DeliveryHandler] { parts.flatMap(\.self) }
}
