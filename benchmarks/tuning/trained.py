"""Searches settings of real trainings on MoleculeNet with every sampler, and tests the best of each with fresh seeds.

python -m benchmarks.tuning.trained --data DIR                       five data sets, the small graph convolution
python -m benchmarks.tuning.trained --data DIR --model grover --datasets freesolv --trials 8 --fresh 3
python -m benchmarks.tuning.trained ... --searched 2500 --presentations 25650    what those found, trained for longer
python -m benchmarks.tuning.trained ... --arms default adopted                   one point of what they found, anywhere
python -m benchmarks.tuning.trained ... --arms default adopted --encoder DIR     the same, from a pre-trained encoder

A repetition draws a random split, 80/10/10, which all samplers share. Each searches on validation; the settings that
did best are trained anew with seeds that the search did not use, and judged on the test. The arms `default`, what was
set by hand, and `adopted`, see `ADOPTABLE`, have no search.
All trainings read about as many molecules, whatever the data set. One process of one thread; what stands in
`benchmarks/results/tuning/trained.jsonl` is not run again.

`grover` is a fine-tuning of the encoder, from random weights if none is given, with the space of
`recsys-ssl tune-finetune`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.claims import RESULTS
from benchmarks.molecules.datasets import DATASETS
from benchmarks.molecules.trials import HAND_SET, describe_encoder
from benchmarks.tuning.convolution import Scores, Settings, plan_batches, train
from benchmarks.tuning.molecule_grid import BATCH_SIZES, CONV_WIDTHS, DENSE_WIDTHS, RATES
from benchmarks.tuning.problems import load_problem
from benchmarks.tuning.tabular import SAMPLERS
from recsys_ssl.encoders.molecule.space import FINETUNE
from recsys_ssl.tuning.config import Request, SearchConfig
from recsys_ssl.tuning.space import Choice, Ladder, LogUniform, Space, Steps, Uniform
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import open_storage

DEFAULT, ADOPTED = "default", "adopted"
ARMS = (DEFAULT, *SAMPLERS)
STUDIED = ("freesolv", "esol", "bace", "bbbp", "lipo")
ADOPTABLE: Mapping[str, Mapping[str, Any]] = {"grover": {"learning_rate": 2e-3, "batch_size": 16, "dropout": 0.0}}
"""Model -> what most of its searches on FreeSolv found in common; `FinetuneConfig` has it since."""
PRESENTATIONS = 10_000
OUTCOMES = Path("tuning") / "trained.jsonl"
GROVER_WIDTH = 32

GRID: Space = {
    "batch_size": Ladder(BATCH_SIZES),
    "learning_rate": Ladder(RATES),
    "conv_width": Ladder(CONV_WIDTHS),
    "dense_width": Ladder(DENSE_WIDTHS),
}
SPACES: Mapping[str, Mapping[str, Space]] = {
    "convolution": {
        "grid": GRID,
        "large": {
            **GRID,
            "learning_rate": LogUniform(1e-4, 1e-2),
            "layers": Steps(1, 3),
            "pooling": Choice(("sum", "mean")),
            "dropout": Uniform(0.0, 0.5),
            "weight_decay": LogUniform(1e-5, 1e-1),
        },
    },
    "grover": {"finetune": FINETUNE},
}
"""Model -> its spaces; `large` holds the grid of the paper and four settings more."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One search and the test of what it found.

    Attributes:
        repetition: seed of the split and of the search.
        trials: of the search; 0 without one.
        fresh: seeds 1, 2, ... that the best settings are trained with.
        searched: presentations of the trainings of the search, where those were shorter; 0 where they were not, and
            without a search.
        encoder: hash of the weights that a fine-tuning begins with; "": random ones.
        settings: the best ones, those that differ from the defaults by being searched.
        found: their score in the search; None without one.
        validation, test: per fresh seed.
        training_seconds, search_seconds: of one core, all trainings, and the rest.
    """

    dataset: str
    model: str
    space: str
    arm: str
    repetition: int
    trials: int
    fresh: int
    presentations: int = PRESENTATIONS
    searched: int = 0
    encoder: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    found: float | None = None
    validation: Sequence[float] = ()
    test: Sequence[float] = ()
    training_seconds: float = 0.0
    search_seconds: float = 0.0

    @property
    def key(self) -> str:
        facts = [self.dataset, self.model, self.space, self.arm, self.repetition, self.trials, self.fresh]
        further = [each for each in (self.searched, self.encoder) if each]
        return records.hash_facts([*facts, self.presentations, *further])


Train = Callable[[Mapping[str, Any], int], Scores]
"""Settings and a seed -> validation and test."""


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Outcome(**facts))


def count_epochs(num_train: int, presentations: int) -> int:
    """Epochs in which about so many molecules are read, two at least."""
    return max(2, round(presentations / num_train))


def make_convolution(dataset: str, data: Path, repetition: int, presentations: int) -> Train:
    problem = load_problem(dataset, data, repetition)
    epochs = count_epochs(len(problem.parts.train), presentations)

    def run(settings: Mapping[str, Any], seed: int) -> Scores:
        chosen = Settings(**settings)
        plan = plan_batches(problem, chosen.batch_size, epochs, seed, chosen.layers)
        return train(problem, chosen, plan, seed)

    return run


def make_grover(dataset: str, data: Path, repetition: int, presentations: int, model: Path | None = None) -> Train:
    # These load TensorFlow's models.
    import tf_keras as keras

    from benchmarks.molecules.datasets import load
    from recsys_ssl.encoders import store
    from recsys_ssl.encoders.finetune import finetune
    from recsys_ssl.encoders.molecule.scaffolds import split_randomly
    from recsys_ssl.encoders.molecule.settings import FinetuneConfig, GroverConfig

    table, task = load(dataset, data), DATASETS[dataset].task
    parts = split_randomly(table.texts, seed=repetition)
    epochs = count_epochs(len(parts.train), presentations)

    def run(settings: Mapping[str, Any], seed: int) -> Scores:
        config = FinetuneConfig(**{**HAND_SET, **settings, "seed": seed, "epochs": epochs})
        encoder = GroverConfig(hidden_dim=GROVER_WIDTH) if model is None else store.load(model, "molecule")
        metrics = finetune("molecule", encoder, table.contents, table.targets, parts, task, config).metrics
        keras.backend.clear_session()
        return Scores(metrics["validation"], metrics["test"])

    return run


MAKERS: Mapping[str, Callable[..., Train]] = {"convolution": make_convolution, "grover": make_grover}
"""Model -> what makes its training of a data set, directory, split, presentations and, of GROVER, an encoder."""


def run(planned: Outcome, run_training: Train, shorter: Outcome | None = None) -> Outcome:
    """Searches, trains the best anew, and returns what came out.

    Args:
        shorter: a search that was done, whose best settings are taken.
    """
    spent = 0.0

    def timed(settings: Mapping[str, Any], seed: int) -> Scores:
        nonlocal spent
        begun = time.process_time()
        scores = run_training(settings, seed)
        spent += time.process_time() - begun
        return scores

    started, settings, found = time.process_time(), {}, None
    if shorter is not None:
        settings, found = dict(shorter.settings), shorter.found
    elif planned.arm == ADOPTED:
        settings = dict(ADOPTABLE[planned.model])
    elif planned.arm != DEFAULT:
        config = SearchConfig(planned.arm, trials=planned.trials, seed=planned.repetition, fresh_seeds=0)
        space, larger = SPACES[planned.model][planned.space], DATASETS[planned.dataset].task == "classification"
        study = Study(open_storage(None), "trained", "", space, config, larger)

        def score(request: Request) -> float:
            return timed(request.settings, 0).validation

        study.search(score)
        best = study.read().best
        if best is None:
            raise ValueError(f"a trial must succeed. Received: {planned.trials} that failed. Change the space.")
        settings, found = best.settings, best.score
    scores = [timed(settings, seed) for seed in range(1, planned.fresh + 1)]
    return dataclasses.replace(
        planned,
        settings=settings,
        found=found,
        validation=[round(each.validation, 5) for each in scores],
        test=[round(each.test, 5) for each in scores],
        training_seconds=round(spent, 2),
        search_seconds=round(time.process_time() - started - spent, 3),
    )


def plan(
    model: str, space: str, datasets: Sequence[str], arms: Sequence[str], repetitions: Iterable[int], **budget: Any
) -> list[Outcome]:
    """Outcomes without numbers, repetition by repetition, so that a study cut short has whole ones.

    Args:
        budget: `trials`, `fresh`, `presentations`, `searched` and `encoder`.
    """
    unsearched = {**budget, "trials": 0, "searched": 0}
    return [
        Outcome(dataset, model, space, arm, repetition, **(budget if arm in SAMPLERS else unsearched))
        for dataset, repetition, arm in itertools.product(datasets, repetitions, arms)
    ]


def find_shorter(planned: Outcome, outcomes: Sequence[Outcome]) -> Outcome | None:
    """The search whose settings are taken, by its split, sampler, trials and presentations; None where it searches.

    Raises:
        ValueError: it is not there.
    """
    if not planned.searched:
        return None
    sought = dataclasses.replace(planned, presentations=planned.searched, searched=0)
    for each in outcomes:
        if each.key == dataclasses.replace(sought, fresh=each.fresh).key:
            return each
    raise ValueError(
        f"the shorter search must have been run. Received: none of {planned.dataset}, {planned.arm}, split "
        f"{planned.repetition}, {planned.trials} trials of {planned.searched:,} molecules. Run it without --searched."
    )


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of MoleculeNet's CSV files")
    parser.add_argument("--model", choices=SPACES, default="convolution")
    parser.add_argument("--space", help="one of the model's, by default its first")
    parser.add_argument("--datasets", nargs="+", choices=STUDIED, default=list(STUDIED))
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, ADOPTED], default=list(ARMS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="split of the first repetition")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--fresh", type=int, default=5, help="seeds that the best settings are trained with")
    parser.add_argument("--presentations", type=int, default=PRESENTATIONS, help="molecules that a training reads")
    parser.add_argument(
        "--searched", type=int, default=0, help="molecules that a training of the search has read, one that was run"
    )
    parser.add_argument("--encoder", type=Path, help="directory of a pre-trained one, of grover only")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of one core, after which no search is begun")
    options = parser.parse_args(arguments)
    space = options.space or next(iter(SPACES[options.model]))
    if space not in SPACES[options.model]:
        parser.error(f"--space of {options.model} must be one of {', '.join(SPACES[options.model])}.")
    budget = {"trials": options.trials, "fresh": options.fresh, "presentations": options.presentations}
    budget |= {"searched": options.searched, "encoder": ""}
    if options.encoder is not None:
        if options.model != "grover":
            parser.error(f"--encoder is of grover only. Received: {options.model}. Leave it out.")
        budget["encoder"] = describe_encoder(options.encoder, {})["pretrained"]["weights"]
    repetitions = range(options.first, options.first + options.repetitions)
    planned = plan(options.model, space, options.datasets, options.arms, repetitions, **budget)
    path, started = results / OUTCOMES, time.process_time()
    path.parent.mkdir(parents=True, exist_ok=True)
    records.end_last_line(path)
    outcomes = read_outcomes(path)
    known = {each.key for each in outcomes}
    pending = [each for each in planned if each.key not in known]
    try:
        shorter = {each.key: find_shorter(each, outcomes) for each in pending}
    except ValueError as error:
        parser.error(str(error))
    print(f"{len(planned) - len(pending)} of {len(planned)} searches are done", flush=True)
    of_split = itertools.groupby(pending, lambda each: (each.dataset, each.repetition))
    with path.open("a", encoding="utf-8") as file:
        for (dataset, repetition), group in of_split:
            of_task = dataset, options.data, repetition, options.presentations
            run_training = MAKERS[options.model](*of_task, *([options.encoder] if options.encoder else []))
            for each in group:
                if time.process_time() - started > options.seconds:
                    print("the rest is left. Run this again.", flush=True)
                    return 0
                file.write(records.to_line(run(each, run_training, shorter[each.key])) + "\n")
                file.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
