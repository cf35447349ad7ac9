"""Whether a log was read or told of, soon, and every record of it counted."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import yaml

from benchmarks.anylog.commands import run_command
from benchmarks.anylog.malformed_logs import Input

Check = Callable[[dict[str, Any], Path], Optional[str]]
"""Of a spec and the directory of its files: what is wrong, None for nothing."""

_LIMIT_S, _WHOLE_LIMIT_S = 60.0, 300.0


def check_input(check: Check, made: Input, place: Path) -> Optional[str]:
    """What a check finds wrong with an input, whose files are written to an empty directory."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, data in made.files.items():
        (place / name).write_bytes(data)
    return check(made.spec, place)


def ingest_whole(spec: dict[str, Any], place: Path) -> Optional[str]:
    """What is wrong with the outcome of the command; None for nothing."""
    (place / "spec.yaml").write_text(yaml.safe_dump(spec))
    outcome = run_command("recsys-ssl ingest spec.yaml --data . --workdir out", place, _WHOLE_LIMIT_S)
    if outcome.status is None:
        return f"hangs: more than {_WHOLE_LIMIT_S:.0f} s"
    if outcome.status not in (0, 1) or "Traceback" in outcome.output or "The whole story is in" in outcome.output:
        return f"status {outcome.status}: {outcome.output[-400:]}"
    summaries = list(place.glob("out/**/summary.json"))
    return find_loss(json.loads(summaries[0].read_text())) if summaries else None


def find_loss(summary: dict[str, Any]) -> Optional[str]:
    """How many records of the log the summary of an ingestion tells of, where it is not all; None where it is."""
    told = sum(summary[name] for name in ("positives", "ignored", "impressions", "duplicates"))
    told += sum(summary["rejected"].values())
    return None if told == summary["events_read"] else f"{summary['events_read']} read, {told} told of"


def read_and_check(spec: dict[str, Any], place: Path) -> Optional[str]:
    """What is wrong with reading and checking alone; None for nothing."""
    from recsys_ssl.logs.readers import LogError

    try:
        with _time_limit(_LIMIT_S):
            return next(filter(None, _count_sides(spec, place)), None)
    except LogError as error:
        return f"a message of {len(str(error))} characters" if len(str(error)) > 6000 else None
    except TimeoutError:
        return f"hangs: more than {_LIMIT_S:.0f} s"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(frame.filename).name}:{frame.lineno})"


def _count_sides(spec: dict[str, Any], place: Path) -> Iterator[Optional[str]]:
    """For each file what was lost of it."""
    from recsys_ssl.logs import sources
    from recsys_ssl.spec import FeatureSpec

    feature_spec = FeatureSpec.model_validate(spec)
    for side, files in sources.find_sources(feature_spec, str(place), 50).items():
        reader = sources._ReadRecords(side, feature_spec, 2, 50)
        for source in files:
            read = told = 0
            for element in reader.process(source):
                tag = getattr(element, "tag", None)
                if tag == "counts":
                    read += element.value[f"{side}_read"]
                    told += element.value["ignored"]
                elif tag == "rejects" and element.value[0] == side:
                    told += element.value[1].num_rows
                elif tag is None:
                    told += element[1].num_rows
            yield None if read == told else f"{side}: {read} read, {told} told of"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError within the block after a time; of the main thread."""

    def interrupt(signum, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
