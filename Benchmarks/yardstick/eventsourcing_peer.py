"""The PyPI package eventsourcing on SQLite, with what Warren's benchmarks of streams do: the peer.

    eventsourcing_peer.py append FILE --callers N --count N --size BYTES
    eventsourcing_peer.py replay FILE --count N --size BYTES

append: typed events through the library's event store (its JSON transcoder and its SQLite recorder, with its own settings:
WAL, synchronous=FULL), one event a call, in streams of ten, from as many threads as callers. Then one command on each of those
streams: load the aggregate, decide, save. replay: all events, mapped to their classes; then each aggregate from its events.
Prints JSON lines.
"""

import argparse
import json
import os
import sqlite3
import threading
import time
from datetime import datetime, timezone
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


def account_id(number: int) -> UUID:
    return uuid5(NAMESPACE_URL, f"/bench/{number}")


class Account(Aggregate):
    @event("Opened")
    def __init__(self, number: int, entry: int, note: str):
        self.number = number
        self.total = 129.95
        self.entries = 1

    @staticmethod
    def create_id(number: int, entry: int, note: str) -> UUID:
        return account_id(number)

    @event("Added")
    def add(self, amount: float, customer: str, entry: int, note: str, paid: bool):
        self.total += amount
        self.entries += 1


def added(number: int, version: int, note: str) -> Aggregate.Event:
    """What Account.add leads to, without loading the aggregate."""
    return Account.Added(
        originator_id=account_id(number),
        originator_version=version,
        timestamp=datetime.now(tz=timezone.utc),
        amount=129.95,
        customer="customer-4711",
        entry=number * 10 + version,
        note=note,
        paid=True,
    )


def opened(number: int, note: str) -> Aggregate.Event:
    return Account(number=number, entry=number * 10, note=note).collect_events()[0]


def report(bench: str, count: int, callers: int, size: int, began: float, cpu: float, latencies=()) -> None:
    seconds = time.perf_counter() - began
    times = os.times()
    line = {
        "bench": bench,
        "n": count,
        "callers": callers,
        "size": size,
        "rate": round(count / seconds),
        "cpu_us": round((times.user + times.system - cpu) * 1e6 / count, 2),
        "sqlite": sqlite3.sqlite_version,
    }
    if latencies:
        ordered = sorted(latencies)
        line["p50_us"] = round(ordered[len(ordered) // 2] * 1e6)
        line["p99_us"] = round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6)
    print(json.dumps(line), flush=True)


def cpu() -> float:
    times = os.times()
    return times.user + times.system


def on_threads(callers: int, work) -> list:
    """Runs work(caller, latencies) on so many threads; the first error ends the program."""
    latencies: list[float] = []
    errors: list[BaseException] = []

    def run(caller: int) -> None:
        mine: list[float] = []
        try:
            work(caller, mine)
        except BaseException as error:
            errors.append(error)
        latencies.extend(mine)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return latencies


def note_for(size: int) -> str:
    """The body of an entry without a note has 158 bytes in this library's JSON."""
    return "x" * max(0, size - 158)


def append(app: Application, count: int, callers: int, size: int) -> None:
    note = note_for(size)
    streams = count // 10

    def fill(caller: int, latencies: list) -> None:
        for number in range(caller, streams, callers):
            for version in range(1, 11):
                start = time.perf_counter()
                made = opened(number, note) if version == 1 else added(number, version, note)
                app.events.put([made])
                latencies.append(time.perf_counter() - start)

    began, used = time.perf_counter(), cpu()
    latencies = on_threads(callers, fill)
    report("append", streams * 10, callers, size, began, used, latencies)

    def decide(caller: int, latencies: list) -> None:
        for number in range(caller, streams, callers):
            start = time.perf_counter()
            account = app.repository.get(account_id(number))
            account.add(129.95, "customer-4711", number, note, True)
            app.save(account)
            latencies.append(time.perf_counter() - start)

    began, used = time.perf_counter(), cpu()
    latencies = on_threads(callers, decide)
    report("decide", streams, callers, size, began, used, latencies)


def replay(app: Application, count: int, size: int) -> None:
    note = note_for(size)
    streams = count // 10
    for start in range(0, streams, 100):
        numbers = range(start, min(start + 100, streams))
        for version in range(1, 11):
            app.events.put([opened(n, note) if version == 1 else added(n, version, note) for n in numbers])

    began, used = time.perf_counter(), cpu()
    seen, next_id, total = 0, 1, 0.0
    while True:
        page = app.recorder.select_notifications(next_id, 1000)
        if not page:
            break
        for notification in page:
            total += getattr(app.mapper.to_domain_event(notification), "amount", 0.0)
            seen += 1
        next_id = page[-1].id + 1
    assert seen == streams * 10 and total > 0
    report("replay", seen, 1, size, began, used)

    began, used = time.perf_counter(), cpu()
    seen = 0
    for number in range(streams):
        seen += app.repository.get(account_id(number)).version
    assert seen == streams * 10
    report("replay.state", seen, 1, size, began, used)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["append", "replay"])
    parser.add_argument("file")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--size", type=int, default=160)
    options = parser.parse_args()
    app = Application(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": options.file,
            "SQLITE_LOCK_TIMEOUT": "60",
        }
    )
    if options.mode == "append":
        append(app, options.count, options.callers, options.size)
    else:
        replay(app, options.count, options.size)
    app.close()


if __name__ == "__main__":
    main()
