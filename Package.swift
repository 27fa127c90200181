// swift-tools-version: 6.2

import PackageDescription

// scripts/lint compares these names with what the compiler knows, because it ignores a misspelt one in silence.
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("ImmutableWeakCaptures"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
  name: "warren",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "Warren", targets: ["Warren"]),
    .library(name: "WarrenRabbitMQ", targets: ["WarrenRabbitMQ"]),
    .library(name: "WarrenStore", targets: ["WarrenStore"]),
    .library(name: "WarrenTesting", targets: ["WarrenTesting"]),
    .executable(name: "warrenctl", targets: ["warrenctl"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.0.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.2.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.0.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CRabbitMQ", pkgConfig: "librabbitmq",
      providers: [.apt(["librabbitmq-dev"]), .brew(["rabbitmq-c"])]),
    .systemLibrary(
      name: "CWarrenTLS", pkgConfig: "openssl", providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]),
    .target(name: "WarrenSupport", swiftSettings: settings),
    .target(
      name: "Warren",
      dependencies: [
        "WarrenSupport",
        .product(name: "Instrumentation", package: "swift-distributed-tracing"), logging,
      ],
      swiftSettings: settings),
    .target(
      name: "WarrenRabbitMQ",
      dependencies: [
        "Warren", "WarrenSupport", "CRabbitMQ", "CWarrenTLS", lifecycle, logging,
        .product(name: "Configuration", package: "swift-configuration"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: settings),
    .target(
      name: "WarrenStore",
      dependencies: [
        "Warren", "WarrenSupport", grdb, lifecycle, logging, .product(name: "GRDBSQLite", package: "GRDB.swift"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: settings),
    .target(name: "WarrenTesting", dependencies: ["Warren", "WarrenStore", grdb], swiftSettings: settings),
    .executableTarget(
      name: "warrenctl",
      dependencies: ["WarrenRabbitMQ", "WarrenStore", "WarrenSupport", grdb, arguments, lifecycle, logging, signals],
      swiftSettings: settings),
    .testTarget(
      name: "WarrenTestingTests", dependencies: ["Warren", "WarrenStore", "WarrenTesting", grdb],
      swiftSettings: settings),
    .testTarget(name: "WarrenTests", dependencies: ["Warren", "WarrenSupport"], swiftSettings: settings),
    .target(name: "FlightEvents", dependencies: ["Warren"], path: "Examples/FlightEvents", swiftSettings: settings),
    .executableTarget(
      name: "airline", dependencies: ["FlightEvents", "WarrenRabbitMQ", "WarrenStore", grdb, arguments],
      path: "Examples/Airline",
      swiftSettings: settings),
    .executableTarget(
      name: "delays", dependencies: ["FlightEvents", "WarrenRabbitMQ", arguments, lifecycle, logging, signals],
      path: "Examples/Delays", swiftSettings: settings),
    .executableTarget(
      name: "hangar", dependencies: ["FlightEvents", "WarrenStore", grdb, arguments], path: "Examples/Hangar",
      swiftSettings: settings),
    .target(
      name: "BrokerFixture", dependencies: ["WarrenRabbitMQ", "WarrenSupport"], path: "Tests/BrokerFixture",
      swiftSettings: settings),
    // Kills processes of itself: scripts/test runs it, and for longer scripts/torture.
    .executableTarget(
      name: "crashes",
      dependencies: ["WarrenRabbitMQ", "WarrenStore", "WarrenSupport", grdb, arguments, lifecycle, signals],
      path: "Tests/Crashes",
      swiftSettings: settings),
    .executableTarget(
      name: "StoreWorker", dependencies: ["WarrenStore", grdb], path: "Tests/StoreWorker", swiftSettings: settings),
    // Looks inside the libraries, so it is built for debugging only: scripts/test runs it, and for longer scripts/torture.
    .executableTarget(
      name: "fuzz",
      dependencies: ["Warren", "WarrenRabbitMQ", "WarrenStore", "WarrenSupport", "CRabbitMQ", grdb, arguments],
      path: "Tests/Fuzz", swiftSettings: settings),
    .testTarget(
      name: "WarrenStoreTests",
      dependencies: [
        "Warren", "WarrenStore", "WarrenSupport", "StoreWorker", grdb, lifecycle, logging,
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      swiftSettings: settings,
      // So that SQLite's calls come to SystemCallTrace.
      linkerSettings: [
        .unsafeFlags(
          ["fdatasync", "pwrite64"].flatMap { ["-Xlinker", "--export-dynamic-symbol=\($0)"] },
          .when(platforms: [.linux]))
      ]),
    .testTarget(
      name: "WarrenRabbitMQTests",
      dependencies: [
        "WarrenRabbitMQ", "WarrenSupport", "CRabbitMQ",
        .product(name: "Configuration", package: "swift-configuration"),
      ],
      swiftSettings: settings),
    .testTarget(
      name: "WarrenRabbitMQBrokerTests",
      dependencies: ["WarrenRabbitMQ", "BrokerFixture", "WarrenSupport", "CRabbitMQ", lifecycle, logging, "warrenctl"],
      swiftSettings: settings),
    .executableTarget(
      name: "FaultWorker", dependencies: ["WarrenRabbitMQ", lifecycle, logging, signals], path: "Tests/FaultWorker",
      swiftSettings: settings),
    .testTarget(
      name: "WarrenStoreBrokerTests",
      dependencies: ["WarrenRabbitMQ", "WarrenStore", "BrokerFixture", "WarrenSupport", grdb, "warrenctl"],
      swiftSettings: settings),
    // These break the broker that they run against, so they run alone: scripts/test gives them a pass of their own.
    .testTarget(
      name: "WarrenRabbitMQFaultTests",
      dependencies: ["WarrenRabbitMQ", "BrokerFixture", "WarrenSupport", "FaultWorker", logging],
      swiftSettings: settings),
  ]
)
