import CRabbitMQ
import Warren

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension Transport {
  /// Makes a connected socket ready for AMQP, with TLS where there are settings for it. Takes the descriptor, also when it
  /// throws.
  static func open(
    _ descriptor: Int32, _ settings: TLSSettings?, place: String, deadline: Nanoseconds, timeout: Duration,
    wait: ConnectWait
  ) throws(RabbitMQError) -> Transport {
    guard let settings else { return Transport(descriptor: descriptor, tls: nil) }
    let link: TLSLink
    do throws(TLSFailure) {
      link = try TLSLink(settings, descriptor: descriptor)
    } catch {
      closeDescriptor(descriptor)
      throw error.error(at: place)
    }
    let transport = Transport(descriptor: descriptor, tls: link)
    while true {
      switch link.handshake() {
      case .bytes: return transport
      case .notNow: break
      case .ended(.tls(let failure)): throw failure.error(at: place)
      case .ended(let end):
        throw RabbitMQError(
          .connectFailed,
          "\(place) accepted the connection but broke off the TLS handshake: \(end.text)\(link.hint). Is this the port for amqps?",
          isRetryable: true)
      }
      var descriptors = [pollfd(fd: descriptor, events: link.awaitsInHandshake, revents: 0)]
      guard try wait.wait(for: &descriptors, until: deadline) else {
        throw RabbitMQError(
          .connectFailed,
          "\(place) accepted the connection but did not end the TLS handshake within \(timeout). Is this the port for amqps?",
          isRetryable: true)
      }
    }
  }
}

extension TLSFailure {
  func error(at place: String) -> RabbitMQError {
    RabbitMQError(code, "\(place): \(text)", isRetryable: isRetryable)
  }
}
