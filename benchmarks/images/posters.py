"""Ranks films that nobody has rated yet by their posters: what an encoder of images sees beside a histogram of colours.

    recsys-ssl data movielens-100k-posters --source COPY --to build/data/movielens-100k-posters
    python -m benchmarks.images.posters
    python -m benchmarks.images.posters --arms histogram random --seeds 1              a try

Of five groups of films each is held out once. Users are 24 factors of their ratings of the others, a ridge regression
tells a film's factors from its vector, and the figure is the mean over users of the AUC of the held-out films: whether
they rated them. Its penalty, and how much of the image goes beside genre and year, are chosen on another group. An
encoder is pre-trained on all posters, without any rating. A trial that stands in
`benchmarks/results/images/posters.jsonl` is not run again; the vectors of encoders stay in `build/posters`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS, ROOT, record
from benchmarks.images.cold_items import NUM_FOLDS, judge, make_folds
from benchmarks.images.films import Films, read_films
from benchmarks.images.measured import POSTERS, render_posters
from benchmarks.images.trials import hand_set
from recsys_ssl.artifacts import write_text
from recsys_ssl.evaluation.crossed import interval_over_seeds

COMMAND = "python -m benchmarks.images.posters"
DATA, WORK = ROOT / "build" / "data" / "movielens-100k-posters", ROOT / "build" / "posters"
SIZE, SEEDS = 32, 3

_PRETRAINING = {"batch_size": 128, "patch": 8, "steps": 300, "max_learning_rate": 1e-3}
_FINAL_RATE = 1e-4
_COLOURS_KEPT = {"brightness": 0.1, "contrast": 0.1, "colour": 0.0}


@dataclass(frozen=True)
class Arm:
    """A vector of a film.

    Attributes:
        label: its name in tables.
        known: what of `Films` it reads besides an encoder's vectors, or in their place; the `roots` of shares are
            Hellinger's.
        encoder: settings of a pre-training, see `PretrainConfig`; none at all: no encoder.
    """

    label: str
    known: str | None = None
    encoder: Mapping[str, Any] | None = None


ENCODERS: Mapping[str, Arm] = {
    "random": Arm("encoder as it begins", encoder={"steps": 0}),
    "contrast": Arm("contrast", encoder={}),
    "contrast_colours": Arm("contrast, views of nearly the same colours", encoder=_COLOURS_KEPT),
}
METADATA = "metadata"
ARMS: Mapping[str, Arm] = {
    "histogram": Arm("histogram of colours", "histogram"),
    "roots": Arm("histogram of colours, roots of shares", "roots"),
    **ENCODERS,
    METADATA: Arm("genre and year", METADATA),
    "metadata_roots": Arm("genre and year, histogram of colours", METADATA, None),
    **{
        f"metadata_{name}": Arm(f"genre and year, {arm.label}", METADATA, arm.encoder) for name, arm in ENCODERS.items()
    },
}


@dataclass(frozen=True)
class Trial:
    """What was run, and what came out once it was.

    Attributes:
        data: hash of the films.
        settings: of the pre-training; none without an encoder.
        validation, test: [NUM_FOLDS] mean AUC over users.
        penalties, scales: [NUM_FOLDS] what validation chose, see `cold_items.judge`.
        seconds: CPU time of this process, pre-training included where the vectors were not there.
    """

    arm: str
    seed: int
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation: Sequence[float] = ()
    test: Sequence[float] = ()
    penalties: Sequence[float] = ()
    scales: Sequence[float] = ()
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """Names the trial by what was run."""
        return records.hash_facts([self.arm, self.seed, self.data, dict(self.settings)])


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="what recsys-ssl data movielens-100k-posters wrote")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of pre-training")
    parser.add_argument("--work", type=Path, default=WORK, help="receives vectors")
    options = parser.parse_args(arguments)
    for name, value in (("CPP_MIN_LOG_LEVEL", "3"), ("NUM_INTRAOP_THREADS", "1"), ("NUM_INTEROP_THREADS", "1")):
        os.environ.setdefault(f"TF_{name}", value)
    try:
        films = read_films(options.data, SIZE)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    path = results / "images" / "posters.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(path)
    known = {trial.key for trial in read_trials(path)}
    folds = make_folds(films.ratings, seed=0)
    for seed in range(options.seeds):
        for arm in options.arms:
            trial = plan(arm, seed, films.digest)
            if trial is not None and trial.key not in known:
                done = run_trial(trial, films, folds, options.work)
                with path.open("a", encoding="utf-8") as file:
                    file.write(records.to_line(done) + "\n")
                print(f"{arm} seed {seed}: {np.mean(done.test):.4f}, {done.seconds:.0f} s of CPU", flush=True)
    trials = [trial for trial in read_trials(path) if trial.data == films.digest]
    found = summarise(trials)
    write_text(results / "images" / POSTERS, json.dumps(found, indent=1) + "\n")
    claim(found, results)
    print(render_posters(found))
    return 0


def read_trials(path: Path) -> list[Trial]:
    """The trials of a file whose settings are still those of the study; none when there is no file."""

    def make(facts: Mapping[str, Any]) -> Trial | None:
        trial = Trial(**facts) if facts["arm"] in ARMS else None
        planned = trial and plan(trial.arm, trial.seed, trial.data)
        return trial if planned and planned.key == trial.key else None

    return records.read_lines(path, make)


def plan(arm: str, seed: int, data: str) -> Trial | None:
    """The trial of an arm; nothing is drawn without an encoder, so that there is one seed."""
    encoder = ARMS[arm].encoder
    if encoder is None:
        return Trial(arm, seed, data) if seed == 0 else None
    return Trial(arm, seed, data, {**_PRETRAINING, **encoder})


def run_trial(trial: Trial, films: Films, folds: Sequence, work: Path = WORK) -> Trial:
    """Runs a trial and returns it with what came out."""
    started = time.process_time()
    blocks = {
        "histogram": films.histograms,
        "roots": np.sqrt(films.histograms),
        METADATA: np.concatenate([films.genres, films.years], axis=1),
    }
    arm = ARMS[trial.arm]
    image = blocks["roots"] if arm.encoder is None else read_vectors(trial, films, work)
    first = image if arm.known is None else blocks[arm.known]
    second = image if arm.known == METADATA and trial.arm != METADATA else None
    found = judge(first, folds, second)
    rounded = {name: [round(value, 6) for value in values] for name, values in found._asdict().items()}
    return dataclasses.replace(trial, **rounded, seconds=round(time.process_time() - started, 1))


def read_vectors(trial: Trial, films: Films, work: Path) -> np.ndarray:
    """[num_films, dim] float32 of the encoder of a trial, pre-trained unless its vectors are there."""
    name = records.hash_facts([trial.seed, trial.data, dict(trial.settings)])
    path = work / f"{name}.npy"
    if path.exists():
        return np.load(path)
    # TensorFlow is loaded for encoders only.
    from benchmarks.images import training
    from recsys_ssl.encoders.image.settings import PretrainConfig

    steps = trial.settings["steps"]
    rates = {"final_learning_rate": _FINAL_RATE}
    own = {**hand_set("contrast"), **rates, **trial.settings, "steps": max(steps, 1), "seed": trial.seed}
    config = PretrainConfig(size=SIZE, channels=3, **own)
    if steps:
        encoder, take = training.make_pretraining(films.posters, config)
        for step in range(steps):
            take(step)
    else:
        encoder = training.make_encoder(config)
    vectors = training.encode(encoder, films.posters)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return vectors


# --- What came out ---------------------------------------------------------------------------------------


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """Of each arm its mean over folds and seeds, and its difference to the histogram and to genre and year.

    Intervals are Student's over the folds, of the means over seeds: other films would have come out otherwise.
    """
    rows = []
    folds = {name: _over_seeds(trials, name, "test") for name in ARMS}
    for name, arm in ARMS.items():
        if folds[name] is None:
            continue
        bar = METADATA if arm.known == METADATA else "histogram"
        row = {
            "arm": name,
            "label": arm.label,
            "seeds": sum(trial.arm == name for trial in trials),
            "validation": round(float(_over_seeds(trials, name, "validation").mean()), 4),
            "test": _interval(folds[name]),
        }
        if name != bar and folds[bar] is not None:
            row |= {"bar": bar, "gain": _interval(folds[name] - folds[bar])}
        rows.append(row)
    images = [row for row in rows if row["arm"] in ENCODERS]
    chosen = max(images, key=lambda row: row["validation"])["arm"] if images else None
    return {"rows": rows, "chosen": chosen, "seconds": round(sum(trial.seconds for trial in trials), 1)}


def _over_seeds(trials: Sequence[Trial], arm: str, part: str) -> np.ndarray | None:
    """[NUM_FOLDS] means over seeds; None without trials."""
    found = [getattr(trial, part) for trial in trials if trial.arm == arm]
    return np.mean(found, axis=0) if found else None


def _interval(of_folds: np.ndarray) -> list[float]:
    """Mean, low, high."""
    mean, half = interval_over_seeds(of_folds)
    return [round(value, 4) for value in (mean, mean - half, mean + half)]


def claim(found: Mapping[str, Any], results: Path) -> None:
    """Records the AUC of the encoder that validation chose."""
    rows = {row["arm"]: row for row in found["rows"]}
    if found["chosen"] is None or "histogram" not in rows:
        return
    chosen, bar = rows[found["chosen"]], rows["histogram"]
    mean, low, high = chosen["test"]
    record(
        "images",
        id="cold_image_auc",
        what=f"MovieLens-100K, films that nobody has rated, by the poster alone ({chosen['label']}, {chosen['seeds']} "
        f"seeds): mean AUC of users, {NUM_FOLDS} folds over films; 0.5 by chance, the histogram of colours has "
        f"{bar['test'][0]:.3f}",
        value=mean,
        interval=(low, high),
        command=COMMAND,
        seconds=found["seconds"],
        results=results,
    )


if __name__ == "__main__":
    sys.exit(main())
