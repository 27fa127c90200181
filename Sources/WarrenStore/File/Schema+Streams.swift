extension Schema {
  /// What the event store needs beside `warren_events`. A Warren without these tables can live with a file that has them.
  static let eventStore = [
    // A rare type is found without reading the whole log; SQLite puts the position behind each type by itself.
    "CREATE INDEX warren_events_type ON warren_events (type)",
    // For the relay, which must not read past a million private events to find a public one.
    "CREATE INDEX warren_events_public ON warren_events (position, exchange) WHERE exchange IS NOT NULL",
    // The first position of each minute in which something was appended, as no later one was marked before: from there on
    // reading finds everything that was recorded since, whatever was done to the clock.
    "CREATE TABLE warren_minutes (minute INTEGER PRIMARY KEY, position INTEGER NOT NULL)",
    // `versions`: a JSON object of each stream's version behind the append.
    """
    CREATE TABLE warren_requests (
      id TEXT PRIMARY KEY, first INTEGER, last INTEGER, versions TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID
    """,
    "CREATE INDEX warren_requests_at ON warren_requests (at)",
    // `format`: the version of the state's own code.
    """
    CREATE TABLE warren_snapshots (
      stream TEXT NOT NULL, kind TEXT NOT NULL, format INTEGER NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
      PRIMARY KEY (stream, kind))
    """,
    // One row for each version of a projection. `tables`: a JSON object from the names that it gave to those that they have.
    """
    CREATE TABLE warren_projections (
      name TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, target INTEGER NOT NULL,
      tables TEXT NOT NULL, problem TEXT, since INTEGER NOT NULL, PRIMARY KEY (name, version)) WITHOUT ROWID
    """,
    // Events that a reader could not take. `stream`: where later events wait behind it.
    """
    CREATE TABLE warren_poison (
      reader TEXT NOT NULL, position INTEGER NOT NULL, stream TEXT NOT NULL, state TEXT NOT NULL, text TEXT NOT NULL,
      since INTEGER NOT NULL, PRIMARY KEY (reader, position)) WITHOUT ROWID
    """,
    "CREATE INDEX warren_poison_stream ON warren_poison (reader, stream)",
    // Readers for which the outbox is kept: for `patience` milliseconds after they last moved.
    """
    CREATE TABLE warren_retaining (
      reader TEXT PRIMARY KEY, patience INTEGER NOT NULL, lapsed INTEGER NOT NULL) WITHOUT ROWID
    """,
  ]
}
