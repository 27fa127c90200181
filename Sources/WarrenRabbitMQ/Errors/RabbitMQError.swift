/// The broker could not be reached, refused something, or a connection to it ended.
public struct RabbitMQError: Error, Sendable, CustomStringConvertible {
  /// The kinds of ``RabbitMQError``.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    private let name: String
    private init(_ name: String) { self.name = name }
    /// The text for messages and logs.
    public var description: String { name }

    /// A broker URL cannot be read; the message names the part that is wrong.
    public static let invalidURL = Code("invalidURL")
    /// A setting is not allowed; the message names the field and what is allowed.
    public static let invalidConfiguration = Code("invalidConfiguration")
    /// No connection could be made: nobody listens, the name does not resolve, or what answers is no broker.
    public static let connectFailed = Code("connectFailed")
    /// The broker refuses user and password, or the user of the client certificate.
    public static let loginRefused = Code("loginRefused")
    /// The broker's certificate, or one of a CA above it, has expired.
    public static let certificateExpired = Code("certificateExpired")
    /// The broker's certificate, or one of a CA above it, is not valid yet.
    public static let certificateNotYetValid = Code("certificateNotYetValid")
    /// The broker's certificate is for other host names.
    public static let certificateWrongHost = Code("certificateWrongHost")
    /// The broker's certificate is self-signed, signed by an unknown CA, or otherwise not to be trusted.
    public static let certificateUntrusted = Code("certificateUntrusted")
    /// The broker wants a client certificate and got none, or does not trust the one that it got.
    public static let clientCertificateRefused = Code("clientCertificateRefused")
    /// A file with a certificate or a key is missing, cannot be read, or does not fit the other one.
    public static let tlsFileUnusable = Code("tlsFileUnusable")
    /// What answers does not speak TLS.
    public static let tlsNotSpoken = Code("tlsNotSpoken")
    /// The broker speaks only versions of TLS that are too old.
    public static let tlsVersionRefused = Code("tlsVersionRefused")
    /// TLS failed for another reason, which the message gives.
    public static let tlsFailed = Code("tlsFailed")
    /// The virtual host does not exist, or the user has no rights there.
    public static let vhostRefused = Code("vhostRefused")
    /// An open connection broke, or the broker closed it.
    public static let connectionLost = Code("connectionLost")
    /// There is no connection: it was closed from our side, or `run()` is not running.
    public static let connectionClosed = Code("connectionClosed")
    /// The channel is closed.
    public static let channelClosed = Code("channelClosed")
    /// The user lacks a permission (AMQP 403).
    public static let accessRefused = Code("accessRefused")
    /// An exchange or a queue does not exist (AMQP 404).
    public static let notFound = Code("notFound")
    /// A queue belongs exclusively to another connection (AMQP 405).
    public static let resourceLocked = Code("resourceLocked")
    /// An exchange or a queue exists with other settings (AMQP 406).
    public static let topologyMismatch = Code("topologyMismatch")
    /// The broker has ended a consumer: its queue was deleted, or its node went down.
    public static let consumerCancelled = Code("consumerCancelled")
    /// Reading a queue in order is paused: too many events wait behind one that fails.
    public static let orderBlocked = Code("orderBlocked")
    /// No answer came in time.
    public static let timedOut = Code("timedOut")
    /// The calling task was cancelled.
    public static let cancelled = Code("cancelled")
    /// What came over the connection is not AMQP 0-9-1.
    public static let protocolViolation = Code("protocolViolation")
  }

  /// What kind of error this is.
  public let code: Code
  /// What happened and what to do about it. Never holds a password.
  public let message: String
  /// True when the same call may succeed later without any change.
  public let isRetryable: Bool
  /// The broker's reply code (AMQP 0-9-1 §1.1, constants), where it gave one.
  public let replyCode: Int?

  package init(_ code: Code, _ message: String, isRetryable: Bool = false, replyCode: Int? = nil) {
    self.code = code
    self.message = message
    self.isRetryable = isRetryable
    self.replyCode = replyCode
  }

  /// The text for messages and logs.
  public var description: String { "\(code): \(message)" }
}
