// swift-tools-version: 6.2

import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("ImmutableWeakCaptures"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
  name: "warren-benchmarks",
  platforms: [.macOS(.v15)],
  // By name, because the folder of a checkout may be called anything.
  dependencies: [.package(name: "warren", path: "..")],
  targets: [
    .target(name: "CHeap"),
    .executableTarget(
      name: "Soak",
      dependencies: [
        "CHeap",
        .product(name: "Warren", package: "warren"),
        .product(name: "WarrenRabbitMQ", package: "warren"),
      ],
      swiftSettings: settings),
  ]
)
