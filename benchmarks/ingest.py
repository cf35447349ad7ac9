"""Measures how fast a CSV log is read: blocks parsed at once against the same blocks read line by line.

python -m benchmarks.ingest

The log is made up from a seed: user, item, rating and time of each event, three columns of which are asked for, as a
spec with a time does. Both arms read the same file in turns, in a shuffled order, so that a machine that slows down
slows both; times are CPU times of this process, all its threads. Line by line is how a block is read that holds quotes,
comments or anything else out of the ordinary. The same file compressed is measured beside it: both arms inflate it
alike, so the ratio is smaller.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.claims import RESULTS, describe_hardware, record
from recsys_ssl.logs.csv_files import read_csv
from recsys_ssl.logs.readers import Batch, read_batches
from recsys_ssl.logs.text_blocks import read_blocks
from recsys_ssl.spec import Files

COMMAND = "python -m benchmarks.ingest"
FILES = Files(paths=["log.csv", "log.csv.gz"])
COLUMNS = {"user": "events.query_id", "item": "events.item_id", "timestamp": "events.timestamp.column"}
ROWS_PER_BATCH = 50_000


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each arm")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    started = time.monotonic()
    print(f"{options.events:,} events, {options.rounds} rounds, {describe_hardware()}")
    arms = {"at once": read_at_once, "line by line": read_by_line}
    compared = {}
    with tempfile.TemporaryDirectory() as directory:
        for path in write_log(Path(directory), options.events, options.seed):
            check_agreement(path)
            seconds = time_in_turns(arms, path, options.rounds)
            for name in arms:
                rates = options.events / seconds[name] / 1e6
                print(f"{path.name:10s} {name:12s} {np.median(rates):6.2f} million rows/s", end=" ")
                print(f"({rates.min():.2f} to {rates.max():.2f})")
            compared[path.name] = compare_times(seconds["line by line"], seconds["at once"])
            print("{:10s} ratio {:.1f} ({:.1f} to {:.1f})".format(path.name, *compared[path.name]))
    ratio, low, high = compared["log.csv"]
    record(
        "house",
        id="ingest_csv_speedup",
        what=f"CPU time to read a plain CSV log of {options.events:,} events line by line, over the time at once",
        value=ratio,
        interval=(low, high),
        unit="x",
        command=" ".join([COMMAND, *(sys.argv[1:] if arguments is None else arguments)]),
        seconds=time.monotonic() - started,
        results=results,
    )


# --- The log and its readers ------------------------------------------------------------------------


def write_log(directory: Path, num_events: int, seed: int) -> tuple[Path, Path]:
    """The log, plain and compressed."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(200_000, size=num_events), rng.integers(60_000, size=num_events)
    ratings, times = rng.integers(1, 11, size=num_events) / 2, rng.integers(10**9, 2 * 10**9, size=num_events)
    rows = zip(users.tolist(), items.tolist(), ratings.tolist(), times.tolist())
    text = "user,item,rating,timestamp\n" + "".join("{},{},{},{}\n".format(*row) for row in rows)
    plain, compressed = directory / "log.csv", directory / "log.csv.gz"
    plain.write_bytes(text.encode())
    compressed.write_bytes(gzip.compress(text.encode(), mtime=0))
    return plain, compressed


def read_at_once(path: Path) -> Iterator[Batch]:
    """The reader as it is."""
    with path.open("rb") as stream:
        yield from read_batches(stream, path.name, FILES, COLUMNS, ROWS_PER_BATCH)


def read_by_line(path: Path) -> Iterator[Batch]:
    """The reader as if no block were plain."""
    with path.open("rb") as stream:
        blocks = read_blocks(stream, path.name, FILES.encoding, ROWS_PER_BATCH)
        yield from read_csv(blocks, path.name, FILES, COLUMNS, parse_plain=lambda *block: None)


# --- Measurement ------------------------------------------------------------------------------------


def check_agreement(path: Path) -> None:
    """Both readers give the same batches; reading them also warms both up.

    Raises:
        ValueError: they do not.
    """
    for number, (left, right) in enumerate(itertools.zip_longest(read_at_once(path), read_by_line(path))):
        same = left is not None and right is not None and left.columns.equals(right.columns)
        if not same or not np.array_equal(left.lines, right.lines) or left.rejects != right.rejects:
            raise ValueError(f"both readers must agree. Batch {number} of {path.name} differs. Correct `parse_block`.")


def time_in_turns(
    arms: Mapping[str, Callable[[Path], Iterator[Batch]]], path: Path, rounds: int
) -> dict[str, np.ndarray]:
    """[rounds] CPU seconds of each arm to read the file; every round gives each its turn, in a shuffled order."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    generator = random.Random(0)
    for _ in range(rounds):
        for name in generator.sample(sorted(arms), len(arms)):
            started = time.process_time()
            for _batch in arms[name](path):
                pass
            seconds[name].append(time.process_time() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def compare_times(times: np.ndarray, base: np.ndarray, samples: int = 2000) -> tuple[float, float, float]:
    """The median over rounds of times / base, and its 95% bounds by the bootstrap over rounds.

    Args:
        times: [rounds] of one arm.
        base: [rounds] of the other arm in the same rounds.
    """
    ratios = times / base
    drawn = np.random.default_rng(0).integers(len(ratios), size=[samples, len(ratios)])
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


if __name__ == "__main__":
    main()
