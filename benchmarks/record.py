"""Store of 200 runs: speed of copying a journal to it, and of searching it.

    python benchmarks/record.py [--runs 200] [--epochs 10] [--keys 35]

Uses a real MLflow server on a sqlite store, on this machine. The journal belongs to one sweep whose runs end their
epochs in turn, like concurrent runs. A search asks for all its runs by a tag, in the order of a metric, with all
parameters, tags and metrics. The last line is one JSON object.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.tracking import MlflowClient

from mvlab.record.journal import SWEEP, DataUse, Event, Journal
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.store import connect
from mvlab.record.tracking import TrackingError

SEARCHES = 10
TAG = {"mvlab.study": "benchmark"}
DATASETS = tuple(
    DataUse(name="synthetic", digest=letter * 64, uri="file:///data", num_samples=1000, context=context)
    for letter, context in (("a", "training"), ("b", "validation"))
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--keys", type=int, default=35)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as uri:
        journal = Journal(Path(folder) / "study" / "journal.jsonl")
        started = time.perf_counter()
        num_events = write(journal, options.runs, options.epochs, options.keys)
        written_s = time.perf_counter() - started
        print(f"journal: {num_events} events in {written_s:.1f} s", flush=True)
        client, experiment = connect(uri, "mobilevit/classification/benchmark")
        started = time.perf_counter()
        assert MlflowSink(journal, client, experiment).close(3600), "not all events were copied"
        carried_s = time.perf_counter() - started
        print(f"copied in {carried_s:.1f} s", flush=True)
        found_s = [search_s(client, experiment, options.runs) for _ in range(SEARCHES)]
        page_s = [search_s(client, experiment, options.runs, page=50) for _ in range(SEARCHES)]
    print(
        json.dumps(
            {
                "runs": options.runs,
                "events": num_events,
                "journal_events_per_s": round(num_events / written_s, 1),
                "carried_events_per_s": round(num_events / carried_s, 1),
                "carried_s": round(carried_s, 2),
                "search_all_median_s": round(statistics.median(found_s), 4),
                "search_all_max_s": round(max(found_s), 4),
                "search_50_median_s": round(statistics.median(page_s), 4),
            }
        )
    )


def write(journal: Journal, runs: int, epochs: int, keys: int) -> int:
    """Write the events of a whole sweep; return their number."""
    names = [f"run {index}" for index in range(runs)]
    events = [Event(run=SWEEP, kind="begin", tags=TAG)]
    for name in names:
        params = {f"p{index}": str(index) for index in range(12)} | {"seed": name[4:]}
        events.append(Event(run=name, kind="begin", params=params, tags=TAG, datasets=DATASETS))
    for epoch in range(1, epochs + 1):
        for index, name in enumerate(names):
            metrics = {f"m/{key}": (index * 7919 + epoch * key) % 1000 / 10 for key in range(keys)}
            events.append(Event(run=name, kind="metrics", step=epoch, metrics=metrics))
    events += [Event(run=name, kind="end", status="FINISHED") for name in [*names, SWEEP]]
    for event in events:
        journal.append(event)
    return len(events)


def search_s(client: MlflowClient, experiment: str, runs: int, *, page: int = 1000) -> float:
    """Return the seconds of one search for the best runs, at most `page` of them."""
    started = time.perf_counter()
    found = client.search_runs(
        [experiment], "tags.`mvlab.study` = 'benchmark'", order_by=["metrics.`m/1` DESC"], max_results=page
    )
    seconds = time.perf_counter() - started
    assert len(found) == min(page, runs + 1), f"{len(found)} runs found"
    return seconds


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the URI of a server on a new store in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, start_new_session=True, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                connect(uri, "of no interest")
                break
            except TrackingError:
                time.sleep(1)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


if __name__ == "__main__":
    main()
