"""The report on probes: how much of the labels frozen vectors tell, beside floors; one HTML page and JSON.

from recsys_ssl.evaluation.probe_report import judge_vectors
report = judge_vectors(vectors, labels, raw=pixels)
print(report["scores"][0]["metrics"]["linear"]["mean"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from sklearn.decomposition import PCA

from recsys_ssl.evaluation import crossed, vector_reports
from recsys_ssl.evaluation.cluster_floors import list_floors
from recsys_ssl.evaluation.clustering import check_differ
from recsys_ssl.evaluation.crossed import Statistic
from recsys_ssl.evaluation.labels import TEST, TRAIN, Labels, check_classes, check_split, encode, split_rows
from recsys_ssl.evaluation.probes import NEIGHBOURS, Labelled, few_shot_hits, linear_hits, nearest_hits
from recsys_ssl.evaluation.vector_reports import find_best_floor, list_statements, make_row, tell_from
from recsys_ssl.evaluation.vectors import VectorTable, from_array

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ProbeConfig:
    """How vectors are probed."""

    seeds: int = 3
    """Draws of what a linear probe validates on, and of few labels, with `seed` and those after it."""
    seed: int = 0
    neighbours: int = NEIGHBOURS
    shots: tuple[int, ...] = (1, 10)
    """Labels of each class that a few-shot probe sees."""

    def __post_init__(self):
        if self.seeds < 1 or self.neighbours < 1:
            raise ValueError(
                f"seeds and neighbours must be positive. Received: {self.seeds} and {self.neighbours}. Use 3 and 20."
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative. Received: {self.seed}.")
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) < len(self.shots):
            raise ValueError(f"shots must be 1 or more, each once. Received: {self.shots}. Use 1 and 10.")

    @property
    def all_seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    @property
    def scores(self) -> dict[str, str]:
        """Name of each score -> what people read."""
        few = {f"few_shot_{shots}": f"{shots} label{'s' * (shots > 1)} a class" for shots in self.shots}
        return {"linear": "Linear probe", "nearest": f"k-NN, k = {self.neighbours}", **few}


def judge_vectors(
    vectors: np.ndarray,
    labels: Sequence[Union[str, Sequence[str], None]],
    part: Optional[np.ndarray] = None,
    raw: Optional[np.ndarray] = None,
    untrained: Optional[np.ndarray] = None,
    config: ProbeConfig = ProbeConfig(),
) -> dict[str, Any]:
    """`judge_probes` of arrays; arguments as of `cluster_report.judge_vectors`.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> pixels, digits = load_digits(return_X_y=True)
        >>> report = judge_vectors(pixels[:600], [str(digit) for digit in digits[:600]], config=ProbeConfig(seeds=1))
        >>> report["scores"][0]["metrics"]["linear"]["mean"] > 0.85
        True
    """
    encoded = encode(labels)
    return judge_probes(
        from_array(vectors),
        encoded,
        split_rows(encoded, seed=config.seed) if part is None else part,
        config,
        None if raw is None else from_array(raw, name="the raw features"),
        None if untrained is None else from_array(untrained, name="the vectors that are not trained"),
    )


def judge_probes(
    table: VectorTable,
    labels: Labels,
    part: np.ndarray,
    config: ProbeConfig = ProbeConfig(),
    raw: Optional[VectorTable] = None,
    untrained: Optional[VectorTable] = None,
    progress: Optional[Progress] = None,
    title: Optional[str] = None,
    facts: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Learns classes of frozen vectors on train and scores them on test, and the same of every floor.

    All rows are in memory, and copies of train meanwhile: about 20 bytes a number of the widest table.

    Args:
        table: [num_rows, dim].
        labels: of the rows.
        part: [num_rows] TRAIN, TEST or LEFT_OUT.
        raw, untrained: see `cluster_floors.list_floors`.
        progress: called with sentences.
        title: of the page; the table's name when None.
        facts: rows of `topic` and `statement` of the protocol, from whoever read the files.

    Returns:
        JSON-able: `title`, `counts`, `config`, `labels` (score -> what people read), `scores` (rows of
        `vector_reports.make_row`; `vectors` first, then floors), `reading`, `protocol`, `caveats`.

    Raises:
        ValueError: there is nothing to tell apart, see `labels.check_classes` and `check_split`; vectors that are not
            finite, or all the same; a floor has other rows; fewer rows of train than neighbours.
    """
    check_classes(labels)
    check_split(labels, part)
    floors = list_floors(table, raw, untrained)
    found, scores = {}, []
    for name, (features, components) in {"vectors": (table, None), **floors}.items():
        train, test = _read(features, labels, part, components, config.seed)
        found[name] = dict(_probe(train, test, config, tell_from(progress, name)))
        metrics = {score: _summarise(hits) for score, hits in found[name].items()}
        scores.append(make_row(name, metrics, components or features.dim))
    largest = _find_largest(labels, part)[None]
    found["one_cluster"] = dict.fromkeys(config.scores, largest)
    scores.append(make_row("one_cluster", dict.fromkeys(config.scores, _summarise(largest))))
    return {
        "title": title or table.name,
        "counts": vector_reports.count_rows(table, labels, part),
        "config": {**asdict(config), "shots": list(config.shots)},
        "labels": config.scores,
        "scores": scores,
        "reading": _read_scores(scores, found, config),
        "protocol": [*facts, *_protocol(labels, part, config)],
        "caveats": list(_CAVEATS),
    }


def write_probe_report(report: Mapping[str, Any], directory: str | Path) -> None:
    """Writes report.html and report.json, see `vector_reports.write`."""
    vector_reports.write(report, render_probe_report(report), directory)


def render_probe_report(report: Mapping[str, Any]) -> str:
    """The page as HTML."""
    return vector_reports.render("probe_report.html.jinja", report, labels=report["labels"])


# --- Probes ------------------------------------------------------------------------------------------


def _read(
    table: VectorTable, labels: Labels, part: np.ndarray, components: Optional[int], seed: int
) -> tuple[Labelled, Labelled]:
    train, test = (table.gather(part == number) for number in (TRAIN, TEST))
    check_differ(train, table.name)
    if components is not None:
        pca = PCA(min(components, *train.shape), random_state=seed).fit(train)
        train, test = pca.transform(train), pca.transform(test)
    of_train, of_test = (labels.take(np.flatnonzero(part == number)) for number in (TRAIN, TEST))
    return Labelled(train, of_train), Labelled(test, of_test)


def _probe(
    train: Labelled, test: Labelled, config: ProbeConfig, progress: Optional[Progress]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each score and which test rows are right, [num_draws, num_test] bool."""

    def over_seeds(name: str, hits: Callable[[Sequence[int]], np.ndarray]) -> np.ndarray:
        found = []
        for number, seed in enumerate(config.all_seeds, start=1):
            _tell(progress, f"{config.scores[name].lower()}, {number} of {config.seeds}")
            found.append(hits([seed]))
        return np.concatenate(found)

    yield "linear", over_seeds("linear", partial(linear_hits, train, test))
    _tell(progress, f"nearest neighbours among {train.num_records:,} rows")
    yield "nearest", nearest_hits(train, test, config.neighbours)
    for shots in config.shots:
        name = f"few_shot_{shots}"
        yield name, over_seeds(name, partial(few_shot_hits, train, test, shots))


def _find_largest(labels: Labels, part: np.ndarray) -> np.ndarray:
    """[num_test] bool, the test rows that have the most frequent class of train."""
    of_train, of_test = (labels.take(np.flatnonzero(part == number)) for number in (TRAIN, TEST))
    largest = np.bincount(of_train.codes, minlength=len(labels.classes)).argmax()
    return np.logical_or.reduceat(of_test.codes == largest, of_test.offsets[:-1])


def _tell(progress: Optional[Progress], text: str) -> None:
    if progress is not None:
        progress(text)


# --- Over draws and rows -------------------------------------------------------------------------------


def _measure(hits: np.ndarray) -> Statistic:
    found = crossed.measure(hits.astype(np.float64), np.ones(hits.shape))
    if found is None:  # only without a test row, which `check_split` refuses
        raise ValueError("there must be test rows. Received: none. Split otherwise.")
    return found


def _summarise(hits: np.ndarray) -> dict[str, Any]:
    """Mean, its 95% interval over test rows and draws, and the mean of each draw."""
    statistic = _measure(hits)
    found = crossed.infer(statistic.value, statistic)
    interval = None if np.isnan(found.low) else [max(0.0, found.low), min(1.0, found.high)]
    return {"mean": statistic.value, "interval": interval, "values": hits.mean(axis=1).tolist()}


def _read_scores(
    scores: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, np.ndarray]], config: ProbeConfig
) -> list[str]:
    """A sentence for each score: the vectors against the best of the floors, on the same test rows."""
    sentences = []
    for name, label in config.scores.items():
        best = find_best_floor(scores, name)
        if best is None:
            continue
        ours, theirs = (_measure(found[of][name]) for of in ("vectors", best["features"]))
        difference = crossed.subtract(ours, theirs)
        told = crossed.infer(difference.value, difference)
        verdict = "above" if told.low > 0.0 else "below" if told.high < 0.0 else "not told apart from"
        bounds = "" if np.isnan(told.low) else f", difference {told.low:+.3f} to {told.high:+.3f}"
        figures = f"{ours.value:.3f} against {theirs.value:.3f}{bounds}".replace("-", "\N{MINUS SIGN}")
        sentences.append(f"{label}: {verdict} the best floor, {best['label'].lower()} ({figures}).")
    return sentences


# --- What the reader needs to know ---------------------------------------------------------------------

_CAVEATS = (
    "The intervals hold the chance of the test rows and of what the probes draw. Another training of the encoder gives "
    "other figures.",
    "A linear probe weighs each number as it needs; distances do not. Vectors with a good linear probe may have poor "
    "neighbours and poor clusters: look at k-NN, and at `recsys-ssl cluster`.",
    "A figure near that of the raw features says that the encoder added nothing for these labels.",
    "Where most rows have one class, telling that one alone is right as often as the column of the largest class says.",
)


def _protocol(labels: Labels, part: np.ndarray, config: ProbeConfig) -> list[dict[str, str]]:
    several = int((labels.counts[part == TEST] > 1).sum())
    shots = " or ".join(f"{number:,}" for number in config.shots)
    statements = {
        "Frozen": "Vectors stay as they are. Everything is fitted on train; each score is the share of test rows that "
        "are told right.",
        "Linear probe": "Logistic regression on vectors that are standardised by train. The strength of its L2 penalty "
        f"is chosen on a fifth of train that a seed draws, {config.seeds} times from seed {config.seed} on.",
        "k-NN": f"The {config.neighbours} most alike rows of train by cosine vote with weight exp(cos / 0.07).",
        "Few labels": f"The same regression with {shots} rows of each class that a seed draws, C = 1, "
        f"{config.seeds} times.",
        "Intervals": "95%, over test rows and draws, which are crossed; differences are paired by test row.",
    }
    if several:
        statements["Several labels"] = (
            f"{several:,} test rows have several. A row is right if the class that is told is one of its own. In "
            "training it counts for each of its classes, with a weight of 1 in all; as a neighbour it votes for each."
        )
    return list_statements(statements)
