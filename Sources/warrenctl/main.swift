import Warren
import WarrenRabbitMQ

struct UserCreated: Event {
  static let eventType: EventType = "user.created"
  var id: Int
  var name: String
}
let configuration = try RabbitMQConfiguration(url: "amqp://guest:guest@127.0.0.1:5673")
try await withRabbitMQ(configuration) { rabbit in
  let publisher = Publisher(rabbit, source: "accounts")
  let subscriber = Subscriber(rabbit, service: "mailer") {
    On(UserCreated.self) { user, context in print(user, context.metadata) 
     if user.id == 2 { throw WarrenError(.invalidName, "nope") }
    }
  }
  let task = Task { try await subscriber.run() }
  try await subscriber.waitUntilReady()
  print(try await publisher.publish(UserCreated(id: 1, name: "John")))
  print(try await publisher.publish(contentsOf: (2..<5).map { UserCreated(id: $0, name: "x") }))
  try await Task.sleep(for: .milliseconds(300))
  task.cancel()
  print(await task.result)
}
