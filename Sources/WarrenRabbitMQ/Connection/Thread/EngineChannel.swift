import CRabbitMQ
import Warren

/// One channel as the connection thread keeps it.
final class EngineChannel {
  enum Phase {
    case opening
    /// A publishing channel that is not in confirm mode yet.
    case selecting
    case open
    /// Our close was sent: what still arrives is thrown away until the broker agrees.
    case closing
  }
  enum Exchange {
    case open
    case confirmSelect
    case request(Request)
    case close
  }

  let id: ChannelID
  let number: UInt16
  let kind: ChannelKind
  let listener: any ChannelListener
  var phase = Phase.opening
  var requests = RPCSlots<Exchange, RequestSlot>()
  var assembler: FrameAssembler
  var publishes: PublishQueue<PublishOperation>
  var names = NameMemo()
  /// A confirm has arrived in this turn of the loop.
  var hasConfirmed = false
  /// What has arrived in this turn of the loop.
  var arrived: [IncomingMessage] = []

  init(id: ChannelID, number: UInt16, kind: ChannelKind, listener: any ChannelListener) {
    self.id = id
    self.number = number
    self.kind = kind
    self.listener = listener
    switch kind {
    case .plain(let maximumBodySize):
      assembler = FrameAssembler(maximumBodySize: maximumBodySize)
      publishes = PublishQueue(maximumCount: 1, maximumBytes: 0)
    case .publishing(let window, let bytes):
      // A returned message comes back with its body, which nobody needs.
      assembler = FrameAssembler(maximumBodySize: 0)
      publishes = PublishQueue(maximumCount: window, maximumBytes: bytes)
    }
  }

  var isPublishing: Bool { if case .publishing = kind { true } else { false } }
}
