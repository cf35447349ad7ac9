"""Whether other negatives pay: those of earlier batches, and a loss that lets negatives be that are far enough away.

python -m benchmarks.evidence.negatives            Frappe and MovieLens small; 2 processes of one thread each

Plain towers with the settings that their own eight trials found (`benchmarks.evidence.run`), judged on validation only.
What an arm adds is searched with the first seed, then its best is trained with all. What stands in
`benchmarks/results/evidence/negatives.jsonl` is not run again.

The arms live here and not in the package, which has no option for what does not pay.

References:
    Wang, Zhu and He 2021, "Cross-batch negative sampling for training two-tower recommenders", SIGIR.
    Mao et al. 2021, arXiv:2109.12613 (SimpleX), Eq. (1): cosine contrastive loss.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import numpy as np

from benchmarks import records
from benchmarks.claims import RESULTS, record
from benchmarks.evidence.datasets import DATASETS, WORK, prepare
from benchmarks.evidence.run import SEEDS, Steps, search, search_by_coordinate
from benchmarks.evidence.trials import Trial, make_config, read_trials
from benchmarks.processes import run_all
from benchmarks.tuning.compare import find_gain

COMMAND = "python -m benchmarks.evidence.negatives"
LOGS = ("frappe", "movielens-small")
PLAIN = "plain"
ARMS = {
    PLAIN: "the negatives of the batch",
    "cross_batch": "items of earlier batches as further negatives",
    "cosine": "cosine contrastive loss",
}
_OF_ARM = ("batches", "margin", "negative_weight")
"""Settings of the arms; all others are those of training."""


@dataclasses.dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        settings: what differs from the tuned settings of the plain towers, those of the arm included.
        tuned: these.
    """

    dataset: str
    arm: str
    seed: int
    settings: Mapping[str, Any]
    tuned: Mapping[str, Any]
    validation: Optional[float] = None
    seconds: float = 0.0

    @property
    def key(self) -> str:
        base = DATASETS[self.dataset].settings(1.0)
        return records.hash_facts([self.dataset, self.arm, self.seed, {**base, **self.tuned}, dict(self.settings)])

    def describe(self) -> str:
        settings = "".join(f" {name}={value}" for name, value in self.settings.items())
        found = f"validation {self.validation:.4f}, {self.seconds:.0f} s"
        return f"{self.dataset} {self.arm} seed {self.seed}{settings}: {found}"

    def to_json(self) -> str:
        return records.to_line(self)


def read_trainings(path: Path) -> list[Training]:
    """The trainings of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Training(**facts))


def steps_of(arm: str, temperature: float, learning_rate: float) -> Steps:
    """What is searched of an arm, beside the tuned temperature and learning rate of the plain towers."""

    def times(value: float, *factors: float) -> tuple[float, ...]:
        return tuple(round(factor * value, 6) for factor in factors)

    if arm == PLAIN:
        return ()
    if arm == "cross_batch":
        rates = "learning_rate", times(learning_rate, 0.5, 2.0)
        return ("batches", (4, 16)), ("temperature", times(temperature, 0.7, 1.4)), rates
    of_loss = ("margin", (0.4, 0.0, 0.8)), ("negative_weight", (1.0, 100.0))
    return *of_loss, ("learning_rate", times(learning_rate, 0.5, 2.0))


def search_arm(
    done: Sequence[Training], trials: Sequence[Trial], dataset: str, arm: str
) -> tuple[list[Training], list[Training]]:
    """(Trainings that the search of an arm needs next, those of its best with all seeds once it needs none).

    Raises:
        ValueError: the plain towers of the log were not tuned.
    """
    tuned, untuned = search(trials, dataset, 1.0, "none")
    if untuned:
        raise ValueError(f"none of {dataset} must have been tuned. Run python -m benchmarks.evidence.run.")
    whole = {**DATASETS[dataset].settings(1.0), **tuned}
    steps = steps_of(arm, whole["temperature"], whole["learning_rate"])
    found = {each.key: each.validation for each in done}
    first = Training(dataset, arm, SEEDS[0], {}, tuned)
    best, missing = search_by_coordinate(found, steps, lambda settings: dataclasses.replace(first, settings=settings))
    return missing, [dataclasses.replace(first, settings=best, seed=seed) for seed in SEEDS]


def plan(done: Sequence[Training], trials: Sequence[Trial], datasets: Sequence[str]) -> list[Training]:
    """What is to run next: the search of every arm with the first seed, then all seeds of its best."""
    known = {each.key for each in done}
    planned: list[Training] = []
    for dataset, arm in itertools.product(datasets, ARMS):
        missing, best = search_arm(done, trials, dataset, arm)
        planned += missing or best
    return [each for each in planned if each.key not in known]


def run(planned: Training) -> Training:
    """Trains, and returns what validation said at best."""
    # TensorFlow is loaded by the workers only.
    import tf_keras as keras

    from recsys_ssl.training.train import fit

    begun, prepared = time.process_time(), prepare(planned.dataset)
    settings = {**planned.tuned, **planned.settings}
    of_arm = {name: settings.pop(name) for name in _OF_ARM if name in settings}
    if planned.arm == "cosine":
        settings["popularity_prior"] = 0.0  # a cosine has no temperature, which the prior is to be added to
    config = make_config(Trial("tune", planned.dataset, "none", seed=planned.seed, settings=settings))
    checkpoints = WORK / "checkpoints" / f"negatives-{planned.key}"
    shutil.rmtree(checkpoints, ignore_errors=True)  # what is remembered of earlier batches is in no checkpoint
    with change_loss(planned.arm, config.embedding_dim, config.batch_size, **of_arm):
        outcome = fit(prepared.spec, config, prepared.inputs, str(checkpoints)).outcome
    shutil.rmtree(checkpoints)
    keras.backend.clear_session()
    seconds = round(time.process_time() - begun, 1)
    return dataclasses.replace(planned, validation=round(outcome.best_score, 6), seconds=seconds)


# --- Losses --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def change_loss(arm: str, dim: int, batch_size: int, **settings: Any) -> Iterator[None]:
    """Within, towers are trained by the loss of an arm."""
    from recsys_ssl.models import losses
    from recsys_ssl.training.step import TrainStep

    if arm == PLAIN:
        yield
        return
    if arm == "cosine":
        with mock.patch.object(losses, "batch_softmax", make_cosine_contrastive(**settings)):
            yield
        return
    memory = Memory(settings["batches"] * batch_size, dim, losses.batch_softmax)
    find_proposal = TrainStep._log_proposal

    def listen(step: TrainStep, rows: Any, counts: Any) -> Any:
        memory.rows_of_batch = rows
        return find_proposal(step, rows, counts)

    with (
        mock.patch.object(TrainStep, "_log_proposal", listen),
        mock.patch.object(losses, "batch_softmax", memory.batch_softmax),
    ):
        yield


class Memory:
    """The positives of earlier batches, first in, first out: each as it was embedded then, with its row and terms."""

    def __init__(self, size: int, dim: int, batch_softmax: Any):
        import tensorflow as tf

        self._batch_softmax = batch_softmax
        self._rows = tf.Variable(tf.fill([size], tf.constant(-1, tf.int64)), trainable=False)
        self._embeddings = tf.Variable(tf.zeros([size, dim]), trainable=False)
        self._terms = tf.Variable(tf.zeros([2, size]), trainable=False)
        self.rows_of_batch: Any = None
        """[num_distinct] int64 catalogue rows of the items of the batch whose loss is asked for next."""

    def batch_softmax(
        self,
        query_embeddings: Any,
        item_embeddings: Any,
        positives: Any,
        counts: Any,
        temperature: float,
        log_proposal: Any,
        item_logits: Any = None,
        own_counts: Any = None,
        **others: Any,
    ) -> Any:
        """`losses.batch_softmax` with what is remembered as further candidates, all drawn alike, then remembers more.

        A candidate that is the positive of a row is none of its negatives, and nor is an empty place.
        """
        import tensorflow as tf

        rows = tf.gather(self.rows_of_batch, positives)
        remembered = tf.convert_to_tensor(self._rows)
        own = (remembered[tf.newaxis] == rows[:, tf.newaxis]) | (remembered < 0)[tf.newaxis]
        before = tf.zeros([tf.size(positives), tf.size(counts)], counts.dtype) if own_counts is None else own_counts
        logits = tf.zeros(tf.shape(log_proposal)) if item_logits is None else item_logits
        terms = tf.stack([log_proposal, logits])
        joined = tf.concat([terms, self._terms], axis=1)
        loss = self._batch_softmax(
            query_embeddings,
            tf.concat([item_embeddings, self._embeddings], axis=0),
            positives,
            tf.concat([counts, tf.ones_like(remembered, counts.dtype)], axis=0),
            temperature,
            joined[0],
            item_logits=joined[1],
            own_counts=tf.concat([before, tf.cast(own, before.dtype)], axis=1),
            **others,
        )
        kept = tf.size(positives)
        self._rows.assign(tf.concat([remembered[kept:], rows], axis=0))
        self._embeddings.assign(tf.concat([self._embeddings[kept:], tf.gather(item_embeddings, positives)], axis=0))
        self._terms.assign(tf.concat([self._terms[:, kept:], tf.gather(terms, positives, axis=1)], axis=1))
        return loss


def make_cosine_contrastive(margin: float, negative_weight: float = 10.0) -> Any:
    """The loss 1 - s_ii + negative_weight * mean over negatives of max(0, s_ij - margin), in the place of a softmax.

    The mean is over uniform negatives: those of the batch, each weighted with one over the probability of its draw.
    """

    def loss(
        query_embeddings: Any,
        item_embeddings: Any,
        positives: Any,
        counts: Any,
        temperature: float,
        log_proposal: Any,
        example_weight: Any = None,
        own_counts: Any = None,
        **others: Any,
    ) -> Any:
        import tensorflow as tf

        if any(other is not None for other in others.values()):
            raise ValueError("the cosine contrastive loss knows no prior and no repeats. Received: one of them.")
        cosines = tf.matmul(query_embeddings, item_embeddings, transpose_b=True)
        own = tf.one_hot(positives, tf.size(counts), dtype=cosines.dtype)
        drawn = tf.cast(counts if own_counts is None else counts - own_counts, cosines.dtype) * (1.0 - own)
        weights = drawn * tf.exp(-log_proposal)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
        far = tf.reduce_sum(weights * tf.nn.relu(cosines - margin), axis=1)
        each = 1.0 - tf.reduce_sum(own * cosines, axis=1) + negative_weight * far
        if example_weight is None:
            return tf.reduce_mean(each)
        return tf.math.divide_no_nan(tf.reduce_sum(each * example_weight), tf.reduce_sum(example_weight))

    return loss


# --- Numbers -------------------------------------------------------------------------------------------


def summarise(trainings: Sequence[Training], trials: Sequence[Trial], datasets: Sequence[str]) -> dict[str, Any]:
    """Per log and arm that has all its seeds: the best settings, validation by seed, and seconds with the search."""
    known = {each.key: each for each in trainings}
    found: dict[str, Any] = {dataset: {} for dataset in datasets}
    for dataset, arm in itertools.product(datasets, ARMS):
        missing, best = search_arm(trainings, trials, dataset, arm)
        if missing or any(each.key not in known for each in best):
            continue
        of_arm = [each.seconds for each in trainings if (each.dataset, each.arm) == (dataset, arm)]
        validation = [known[each.key].validation for each in best]
        found[dataset][arm] = {"settings": best[0].settings, "validation": validation, "seconds": sum(of_arm)}
    return found


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    path, trials = results / "evidence" / "negatives.jsonl", read_trials(results / "evidence" / "trials.jsonl")
    for name in options.datasets:
        prepare(name)
    while pending := plan(read_trainings(path), trials, options.datasets):
        run_all(pending, run, path, options.workers)
    found = summarise(read_trainings(path), trials, options.datasets)
    for dataset, arms in found.items():
        for arm in [arm for arm in arms if arm != PLAIN]:
            facts, plain = arms[arm], np.array(arms[PLAIN]["validation"])
            gain = find_gain(np.array(facts["validation"]) - plain)
            settings = ", ".join(f"{name} {value:g}" for name, value in facts["settings"].items())
            claim = record(
                "retrieval",
                id=f"{arm}_gain_{dataset.replace('-', '_')}",
                what=f"{dataset}, {ARMS[arm]} ({settings}): gain in validation Recall@50 over {ARMS[PLAIN]}, "
                f"{len(SEEDS)} seeds",
                value=gain["gain"],
                interval=gain["gain_interval"],
                command=COMMAND,
                seconds=facts["seconds"] + arms[PLAIN]["seconds"],
                results=results,
            )
            print(f"{claim.what}: {claim.value:+.4f} ({claim.interval[0]:+.4f} to {claim.interval[1]:+.4f})")


if __name__ == "__main__":
    main()
