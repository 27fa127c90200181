public import ArgumentParser
import Foundation
import Logging
public import WarrenRabbitMQ

struct BrokerOptions: ParsableArguments {
  @Option(help: "The broker. Default: RABBITMQ_URL, else amqp://guest:guest@localhost:5672")
  var url: String?

  @Option(help: "declare, verify or assume: what to do about exchanges and queues.")
  var topology: TopologyMode = .declare

  func configuration(named name: String) throws -> RabbitMQConfiguration {
    let url = url ?? ProcessInfo.processInfo.environment["RABBITMQ_URL"] ?? "amqp://guest:guest@localhost:5672"
    var configuration = try RabbitMQConfiguration(url: url)
    configuration.topology = topology
    configuration.connectionName = configuration.connectionName ?? "warrenctl \(name)"
    return configuration
  }
}

extension TopologyMode: ExpressibleByArgument {}
