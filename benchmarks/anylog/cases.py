"""Runs cases, each a folder with a log, a spec and a command, and compares what comes out with the right outcome."""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import yaml

from benchmarks.anylog.commands import Outcome, environment, run_command
from benchmarks.anylog.expectations import Checks, Entry, Run, Table, load
from benchmarks.anylog.results import CaseResult

_ALWAYS_WRONG = {
    r"Traceback \(most recent call last\)": "a trace",
    "\x1b": "an escape character",
    "The whole story is in": "an error of a library",
}
_SUMMED = ("positives", "ignored", "impressions", "duplicates", "rejected")


def run_cases(
    directory: Path, only: str = "*", jobs: int = 1, newest: Optional[str] = None, table: Optional[Table] = None
) -> Iterator[CaseResult]:
    """Yields the result of each case, in the order of the table.

    Args:
        directory: of the folders of the cases.
        only: a glob over their names.
        newest: Python of an environment with the newest TensorFlow, for the cases that ask for it.
    """
    table = table or load()
    chosen = [
        (entry, name)
        for entry in table.cases
        for name in entry.cases
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in only.split(","))
    ]
    with tempfile.TemporaryDirectory(prefix="anylog-") as scratch, ThreadPoolExecutor(jobs) as pool:
        models = Models(directory, Path(scratch))
        yield from pool.map(
            lambda pair: _run_case(pair[0], pair[1], table, directory, Path(scratch), models, newest), chosen
        )


def _run_case(
    entry: Entry, name: str, table: Table, cases: Path, scratch: Path, models: Models, newest: Optional[str]
) -> CaseResult:
    if entry.newest and newest is None:
        return CaseResult(name, entry.right, "not run", ["needs --newest PYTHON"], 0.0)
    place, came, faults, seconds = scratch / name.replace("/", "--"), [], [], 0.0
    for number, run in enumerate(entry.runs):
        if not run.keep:
            shutil.rmtree(place, ignore_errors=True)
            _copy_case(entry, name, table, cases, place)
            models.link(entry.needs or name.split("-")[0], place)
            _patch_spec(place / "spec.yaml", run.spec)
        outcome = _run(run, name, place, newest)
        seconds += outcome.seconds
        came.append(_describe(outcome, place))
        wrong = _judge(run, outcome, place, name.split("/")[-1])
        which = f"run {number + 1}: " if len(entry.runs) > 1 else ""
        faults += [f"{which}{fault}" for fault in wrong]
    shutil.rmtree(place, ignore_errors=True)
    return CaseResult(name, entry.right, "; then ".join(dict.fromkeys(came)), faults, seconds)


# --- The folder of a case ------------------------------------------------------------------------------


def _copy_case(entry: Entry, name: str, table: Table, cases: Path, place: Path) -> None:
    shutil.copytree(cases / (entry.folder or name), place, copy_function=shutil.copyfile)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for extra in entry.extra:
        shutil.copyfile(cases / extra, place / Path(extra).name)
    for file, text in entry.write.items():
        (place / file).write_text(text, encoding="utf-8")
    for path in [*place.glob("cmd.txt"), *place.glob("ask.py")]:
        text = path.read_text(encoding="utf-8")
        for old, new in table.renamed.items():
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    if (place / "make_data.py").exists():
        (place / "data").mkdir(exist_ok=True)
        subprocess.run([sys.executable, "make_data.py"], cwd=place, check=True)


def _patch_spec(path: Path, changes: dict[str, Any]) -> None:
    """Sets dotted keys; numbers count the elements of lists."""
    if not changes:
        return
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *outer, last = (int(part) if part.isdigit() else part for part in key.split("."))
        at = spec
        for part in outer:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        at[last] = value
    path.write_text(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False), encoding="utf-8")


class Models:
    """The encoder and the recommender that some cases ask, each made once, when the first case needs it."""

    def __init__(self, cases: Path, scratch: Path):
        self._cases, self._scratch, self._lock = cases, scratch, threading.Lock()

    def link(self, needs: str, place: Path) -> None:
        kind = {"mol": "mol", "ft": "mol", "serve": "serve"}.get(needs)
        if kind is None:
            return
        with self._lock:
            made = self._scratch / f"models-{kind}"
            if not made.exists():
                made.mkdir()
                {"mol": self._make_encoder, "serve": self._make_recommender}[kind](made)
        (place / kind).symlink_to(made)

    def _make_encoder(self, place: Path) -> None:
        tables = sorted(self._cases.glob("ft-*/data/t.csv"))
        texts = itertools.chain.from_iterable(path.read_bytes().splitlines()[1:] for path in tables)
        smiles = dict.fromkeys(re.split(rb"[,;]", text)[0] for text in texts)
        (place / "all.smi").write_bytes(b"\n".join(text for text in smiles if re.search(rb"[CO]", text)) + b"\n")
        small = "size=tiny hidden_dim=16 steps=10 eval_every=10 batch_size=16 max_rejected_share=1.0"
        settings = " ".join(f"--set pretrain.{each}" for each in small.split())
        _must(f"recsys-ssl pretrain molecule --data all.smi --workdir enc {settings}", place)

    def _make_recommender(self, place: Path) -> None:
        simulation = "Simulation(num_users=300, num_items=300, num_events=4000)"
        code = f"from recsys_ssl.datasets.simulate import *; simulate({simulation}, 'data')"
        _must(f'python -c "{code}"', place)
        small = "train.steps=200 train.eval_every=100 train.batch_size=256 control.steps=20 control.eval_every=20"
        settings = " ".join(f"--set {each}" for each in small.split())
        _must(f"recsys-ssl run data/simulated.yaml --data data --workdir out {settings}", place)


def _must(command: str, place: Path) -> None:
    subprocess.run(
        ["bash", "-c", command],
        cwd=place,
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


# --- One run -------------------------------------------------------------------------------------------


def _run(run: Run, name: str, place: Path, newest: Optional[str]) -> Outcome:
    own = place / "cmd.txt"
    command = own.read_text(encoding="utf-8").split("   #")[0].strip() if own.exists() else ""
    words = {"{stem}": name.split("/")[-1], "{cmd}": command, "{newest}": newest or "python"}
    outcome, seconds = Outcome(0, "", 0.0), 0.0
    for line in run.commands or [command]:
        for word, text in words.items():
            line = line.replace(word, text)
        outcome = run_command(line, place, run.seconds)
        seconds += outcome.seconds
        if outcome.status is None:
            break
    return outcome._replace(seconds=seconds)


def _judge(run: Run, outcome: Outcome, place: Path, stem: str) -> list[str]:
    """What is wrong with an outcome; where several are right, what the one that fits best lacks."""
    if outcome.status is None:
        return [f"ran past {run.seconds:.0f} s"]
    found = [_compare(checks, outcome, place, stem) for checks in run.either or [run]]
    return min(found, key=len)


def _compare(checks: Checks, outcome: Outcome, place: Path, stem: str) -> list[str]:
    text = collapse(outcome.output)
    faults = [
        f"printed {what}"
        for pattern, what in _ALWAYS_WRONG.items()
        if re.search(pattern, outcome.output) and not (checks.traces and what == "a trace")
    ]
    if outcome.status != checks.status:
        faults.append(f"status {outcome.status}, not {checks.status}")
    wanted = [each.replace("{stem}", stem) for each in checks.says]
    faults += [f"does not say /{each}/" for each in wanted if not re.search(each, text)]
    faults += [f"says /{each}/" for each in checks.never if re.search(each, text)]
    return faults + _compare_written(checks, place)


def collapse(text: str) -> str:
    """Text with a blank for each run of white space, so that no line's end is in the way of an expression."""
    return re.sub(r"\s+", " ", text).strip()


def _compare_written(checks: Checks, place: Path) -> list[str]:
    faults = []
    summary = read_summary(place)
    if summary is not None:
        summed = sum(_total(summary[name]) for name in _SUMMED)
        if summed != summary["events_read"]:
            faults.append(f"lost: {summary['events_read']} read, {summed} told of")
    elif checks.summary:
        faults.append("no summary")
    for key, value in checks.summary.items() if summary is not None else ():
        got = _total(_look_up(summary, key))
        if got != value:
            faults.append(f"{key} {got}, not {value}")
    if checks.catalogue or checks.known:
        faults += _compare_catalogue(checks, place)
    if checks.report:
        report = _read_json(place, "report.json") or {}
        gotten = {key: _look_up(report, key) for key in checks.report}
        faults += [f"{key} {got}, not {checks.report[key]}" for key, got in gotten.items() if got != checks.report[key]]
    return faults + _compare_tables(checks, place)


def _compare_catalogue(checks: Checks, place: Path) -> list[str]:
    items = _read_catalogue(place)
    if items is None:
        return ["no catalogue"]
    faults = []
    for item, features in checks.catalogue.items():
        for feature, values in features.items():
            got = items.get(item, {}).get(feature, [])
            if not _alike(got, values):
                faults.append(f"{feature} of {item} {got}, not {values}")
    for feature, number in checks.known.items():
        num_known = sum(bool(record.get(feature)) for record in items.values())
        if num_known != number:
            faults.append(f"{num_known} items have {feature}, not {number}")
    return faults


def _compare_tables(checks: Checks, place: Path) -> list[str]:
    import numpy as np
    import pyarrow.parquet as pq

    faults = []
    for file, columns in checks.tables.items():
        table = pq.read_table(place / file).to_pydict() if (place / file).exists() else {}
        gotten = {name: table.get(name) for name in columns}
        faults += [f"{file}: {name} {got}, not {columns[name]}" for name, got in gotten.items() if got != columns[name]]
    for file in checks.finite:
        vectors = pq.read_table(place / file)["vector"].to_pylist() if (place / file).exists() else [[np.nan]]
        if not np.isfinite(np.asarray(vectors, np.float64)).all():
            faults.append(f"{file}: vectors are not finite")
    return faults


# --- What was written ----------------------------------------------------------------------------------


def read_summary(place: Path) -> Optional[dict[str, Any]]:
    """The newest summary of an ingestion below a directory; None: there is none."""
    return _read_json(place, "summary.json")


def _read_json(place: Path, name: str) -> Optional[dict[str, Any]]:
    paths = sorted(_outputs(place, name), key=lambda path: path.stat().st_mtime)
    return json.loads(paths[-1].read_text(encoding="utf-8")) if paths else None


def _outputs(place: Path, name: str) -> Iterator[Path]:
    for out in place.glob("out*"):
        yield from out.rglob(name)


def _read_catalogue(place: Path) -> Optional[dict[str, dict[str, list]]]:
    """Item -> feature -> values, text as str."""
    found = sorted(_outputs(place, "Split-catalogue"), key=os.path.getmtime)
    if not found:
        return None
    from recsys_ssl.examples import CATALOGUE_SPLIT, list_shards, read_batches

    records = [
        record for batch in read_batches(list_shards(found[-1].parent, CATALOGUE_SPLIT)) for record in batch.to_pylist()
    ]
    texts = [
        {name: [_as_text(value) for value in values or []] for name, values in record.items()} for record in records
    ]
    return {record["item_id"][0]: record for record in texts}


def _as_text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _alike(got: Sequence[Any], values: Sequence[Any]) -> bool:
    """Numbers to the precision of float32."""
    return len(got) == len(values) and all(
        abs(one - other) <= 1e-6 * max(1.0, abs(other)) if isinstance(other, float) else one == other
        for one, other in zip(got, values)
    )


def _look_up(record: dict[str, Any], key: str) -> Any:
    at: Any = record
    for part in key.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at


def _total(value: Any) -> Any:
    return sum(value.values()) if isinstance(value, dict) else value


def _describe(outcome: Outcome, place: Path) -> str:
    """In words: its status and the first line of its error, or the numbers of the ingestion, or its last line."""
    if outcome.status is None:
        return f"killed after {outcome.seconds:.0f} s"
    error = re.search(r"error: ([^\n]*)", outcome.output)
    if error:
        return f"status {outcome.status}: {error[1][:110].strip()}"
    summary = read_summary(place)
    if outcome.status == 0 and summary is not None:
        counts = [f"{_total(summary[name]):,} {name}" for name in _SUMMED if _total(summary[name])]
        return f"{summary['events_read']:,} read: {', '.join(counts)}"
    lines = outcome.output.strip().splitlines() or [""]
    return f"status {outcome.status}: {lines[-1][:110].strip()}"
