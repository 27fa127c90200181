import BrokerFixture
import WarrenRabbitMQ

/// The way from one process to the broker: a proxy for each of its addresses, which fail together.
struct Line: Sendable {
  let proxies: [FaultProxy]

  init(to hosts: [RabbitMQConfiguration.Host]) throws { proxies = try hosts.map { try FaultProxy(to: $0.port) } }

  func behave(_ change: (inout FaultProxy.Behaviour) -> Void) { for proxy in proxies { proxy.behave(change) } }
  func cut() { for proxy in proxies { proxy.cut() } }
  func freeze() { for proxy in proxies { proxy.freeze() } }
  func close() { for proxy in proxies { proxy.close() } }
  /// Nothing fails any more; what a freeze has taken stays so.
  func heal() { for proxy in proxies { proxy.behave { $0 = .init() } } }
  var accepted: Int { proxies.reduce(0) { $0 + $1.accepted } }

  func url(user: String, password: String) -> String {
    "amqp://\(user):\(password)@\(proxies.map { "127.0.0.1:\($0.port)" }.joined(separator: ","))"
  }
}
