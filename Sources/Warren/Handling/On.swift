/// A typed handler: the event's value, decoded, and its context.
///
/// ```swift
/// On(UserCreated.self) { user, context in
///   try await mail.welcome(user.name)
/// }
/// ```
///
/// Returning acknowledges the event; when it throws, the ``RetryPolicy`` decides, and what is not tried again goes to the
/// dead letters with the error as the reason. A body that cannot be decoded goes there at once. For an ``EventFamily`` it reads the queues of all the family's types.
public struct On<E: Event>: DeliveryHandler {
  private let body: @Sendable (E, HandlerContext) async throws -> Void
  /// What its queues need.
  public let queueOptions: QueueOptions
  /// How its deliveries are treated.
  public let settings: HandlerSettings

  /// Makes a handler.
  ///
  /// With `orderedBy` events that give the same text are handled one after the other, in the order of the queue; see
  /// ``DeliveryHandler/ordered(by:)``.
  public init(
    _ type: E.Type, queue: QueueOptions = .init(), orderedBy key: (@Sendable (_ event: E) -> String?)? = nil,
    handle: @escaping @Sendable (_ event: E, _ context: HandlerContext) async throws -> Void
  ) {
    self.queueOptions = queue
    var settings = HandlerSettings()
    if let key {
      // What cannot be decoded goes to the dead letters, in no order.
      settings.order = { delivery in
        guard let event = try? delivery.decoded(E.self) else { return nil }
        return key(event)
      }
    }
    self.settings = settings
    self.body = handle
  }

  /// The event types whose queues it reads.
  public var eventTypes: [EventType] { E.readTypes }
  /// True when it is given what no other handler takes.
  public var isCatchAll: Bool { false }

  /// Runs the handler on one delivery.
  public func handle(_ delivery: Delivery) async -> HandlerResult {
    let event: E
    do throws(WarrenError) {
      event = try delivery.decoded(E.self)
    } catch {
      return HandlerResult(.deadLetter(.undecodable(error.message)))
    }
    return await HandlerScope.run(delivery, name: delivery.queue) { try await body(event, $0) }
  }
}

/// A handler that takes deliveries as they come, undecoded.
public struct OnRaw: DeliveryHandler {
  private let body: @Sendable (Delivery, HandlerContext) async throws -> Void
  /// The event types whose queues it reads.
  public let eventTypes: [EventType]
  /// What its queues need.
  public let queueOptions: QueueOptions
  /// True when it is given what no other handler takes.
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

  /// Runs the handler on one delivery.
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

  /// The event types whose queues it reads.
  public var eventTypes: [EventType] { [] }
  /// What its queues need.
  public var queueOptions: QueueOptions { .init() }

  /// Runs the handler on one delivery.
  public func handle(_ delivery: Delivery) async -> HandlerResult {
    await HandlerScope.run(delivery, name: delivery.queue) { try await body(delivery, $0) }
  }
}

/// Collects the handlers of a subscriber.
@resultBuilder
public enum HandlerBuilder {
  /// One handler.
  public static func buildExpression(_ handler: some DeliveryHandler) -> [any DeliveryHandler] { [handler] }
  /// Several, made elsewhere.
  public static func buildExpression(_ handlers: [any DeliveryHandler]) -> [any DeliveryHandler] { handlers }
  /// All of a block, in order.
  public static func buildBlock(_ parts: [any DeliveryHandler]...) -> [any DeliveryHandler] { parts.flatMap(\.self) }
  /// Those of an `if` without `else`.
  public static func buildOptional(_ part: [any DeliveryHandler]?) -> [any DeliveryHandler] { part ?? [] }
  /// Those of an `if`.
  public static func buildEither(first part: [any DeliveryHandler]) -> [any DeliveryHandler] { part }
  /// Those of an `else`.
  public static func buildEither(second part: [any DeliveryHandler]) -> [any DeliveryHandler] { part }
  /// Those of a loop.
  public static func buildArray(_ parts: [[any DeliveryHandler]]) -> [any DeliveryHandler] { parts.flatMap(\.self) }
}
