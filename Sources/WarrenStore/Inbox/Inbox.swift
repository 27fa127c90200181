public import GRDB
public import Warren
import WarrenSupport

/// Makes handlers whose effect in this database happens once, however often an event is delivered.
///
/// The record that an event was handled, what the handler wrote, and the events that it published or recorded are one commit;
/// the delivery is acknowledged after it. An event is the same when queue, source, type and id are; for ids that Warren has
/// not made the body must be the same too.
public struct Inbox: Sendable {
  /// What is done with an event that is so old that it may have been handled.
  public enum TooOldHandling: String, Sendable, CaseIterable {
    /// It goes to the dead letters with the cause `tooOldToKnow`.
    case deadLetter
    /// It is handled, perhaps again.
    case handle
  }

  /// What differs from the defaults.
  public struct Options: Sendable {
    /// How long a handled event is remembered, by the time when it was recorded. 30 days.
    public var window = Duration.seconds(30 * 86_400)
    /// What is done with an event from before the records that were removed.
    public var tooOld = TooOldHandling.deadLetter
    /// A handler that is longer than this inside the transaction is named in the log, once a minute for each queue. 100 ms. Its
    /// SQL is interrupted after ``EventLog/Options/longestTransaction``.
    public var slow = Duration.milliseconds(100)

    /// The defaults.
    public init() {}
  }

  let log: EventLog
  let options: Options
  let keeper: InboxKeeper

  init(_ log: EventLog, _ options: Options) {
    self.log = log
    self.options = options
    keeper = InboxKeeper(log, options)
  }

  /// A handler that uses nothing but the database: it runs in the transaction, together with those of other deliveries.
  ///
  /// ```swift
  /// log.inbox.on(OrderPlaced.self) { order, db, context in
  ///   try Invoice(order).insert(db)
  ///   try log.record(InvoiceWritten(order: order.id), in: db)
  /// }
  /// ```
  /// While it runs nothing else can write to the file, so it must be short; it may run again, so it must do nothing else.
  public func on<E: Event>(
    _ type: E.Type, queue: QueueOptions = .init(),
    handle: @escaping @Sendable (_ event: E, _ db: Database, _ context: InboxContext) throws -> Void
  ) -> InboxHandler {
    InboxHandler(log, types: E.readTypes, queue: queue) { delivery in
      await withDecoded(E.self, delivery) { event in
        await keeper.handleNow(delivery) { db, context in try handle(event, db, context) }
      }
    }
  }

  /// A handler that does its input and output first, and gives the log what is to be written: with
  /// ``InboxContext/onCommit(_:)``, and by publishing. What it does outside the database happens at least once.
  public func on<E: Event>(
    _ type: E.Type, queue: QueueOptions = .init(),
    handle: @escaping @Sendable (_ event: E, _ context: InboxContext) async throws -> Void
  ) -> InboxHandler {
    InboxHandler(log, types: E.readTypes, queue: queue) { delivery in
      await withDecoded(E.self, delivery) { event in
        await keeper.handle(delivery) { context in try await handle(event, context) }
      }
    }
  }

  /// A handler that takes deliveries as they come, undecoded, and does its input and output before the transaction.
  public func onRaw(
    _ types: [EventType], queue: QueueOptions = .init(),
    handle: @escaping @Sendable (_ delivery: Delivery, _ context: InboxContext) async throws -> Void
  ) -> InboxHandler {
    InboxHandler(log, types: types, queue: queue) { delivery in
      await keeper.handle(delivery) { context in try await handle(delivery, context) }
    }
  }

  private func withDecoded<E: Event>(
    _ type: E.Type, _ delivery: Delivery, _ body: (E) async -> HandlerResult
  ) async -> HandlerResult {
    let event: E
    do throws(WarrenError) {
      event = try delivery.decoded(E.self)
    } catch {
      return HandlerResult(.deadLetter(.undecodable(error.message)))
    }
    return await body(event)
  }
}

extension EventLog {
  /// Handlers whose effect in this database happens once, with the default options.
  public var inbox: Inbox { Inbox(self, .init()) }

  /// Handlers whose effect in this database happens once.
  public func inbox(_ options: Inbox.Options) -> Inbox { Inbox(self, options) }
}

/// A handler of an ``Inbox``, for any subscriber. Its queues have a single active consumer: what was handled is known to one
/// file, so one process at a time must receive.
public struct InboxHandler: DeliveryHandler {
  /// The event types whose queues it reads.
  public let eventTypes: [EventType]
  /// What its queues need.
  public let queueOptions: QueueOptions
  /// True when it is given what no other handler takes.
  public var isCatchAll: Bool { false }
  private let place: ParkingPlace
  private let body: @Sendable (Delivery) async -> HandlerResult

  init(
    _ log: EventLog, types: [EventType], queue: QueueOptions,
    body: @escaping @Sendable (Delivery) async -> HandlerResult
  ) {
    eventTypes = types
    var queue = queue
    queue.singleActiveConsumer = true
    queueOptions = queue
    place = ParkingPlace(log)
    self.body = body
  }

  /// In the log's file: a failed event waits there for exactly as long as it is to, and in order with others of its key.
  public var parking: (any DeliveryParking)? { place }

  /// Runs the handler on one delivery.
  public func handle(_ delivery: Delivery) async -> HandlerResult { await body(delivery) }
}
