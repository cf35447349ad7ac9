"""How often the report's intervals cover the truth and its p-values err, by simulation, and records both.

python -m benchmarks.coverage              the claims in benchmarks/results/retrieval.json (minutes on one core)
python -m benchmarks.coverage --logs 500   fewer simulated logs, for a look; nothing is recorded

A situation is a kind of metric, how held-out pairs spread over queries, and how the arms differ. They were fixed by
what reports are of, before any method was tried on them:

* pairs of a query: `one` (last item held out, or a mean over queries); `lognormal`, round(exp(N(log 5, 1))) and at
  least 1, which makes n queries worth 0.37 n equal ones (MovieLens-100K: 153 are worth 54); `zipf`, n / rank.
* metric: `recall`, the hits of a query's pairs; `graded`, a hit at place 1 to 10 counts 1 / log2(1 + place).
* hits: every pair with its query's rate, of mean 0.15, Beta-distributed over queries; both arms share it, but for
  `lift` (the treatment finds 1.2 times as much), `heavy` (queries of many pairs gain up to 30%, those of few lose),
  `spread` and `spread_control` (equal means, but one arm's rate varies between queries far more than the other's),
  `rare` and `rare_null` (the arms differ in 5% of the queries: the treatment's rate is 0.5 there, or the same), `null`.

Where the gate of `recsys_ssl.evaluation.rows` refuses all but 5% of the logs no interval is shown, and the cell is
listed as refused. Of the others the coverage is that over the logs which show one, the less of the difference's and the
relative difference's, so that choosing logs by the gate counts against it. With several seeds each training has a
lift of its own, N(0, 0.05), and each query of each training one of N(0, 0.2).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.claims import record
from recsys_ssl.evaluation import rows, statistics

COMMAND = "python -m benchmarks.coverage"
QUERIES = (30, 60, 100, 200, 500, 1000, 2000)
SEEDS = (2, 3, 5)
LOGS = 4000
LEAST_SHOWN = 0.05
_BLOCK = 500  # logs that share their draws of the bootstrap
_RATE = 0.15
_SIZES = {
    "p_size": "the report's",
    "swap_size": "arms swapped",
    "studentised_size": "swapped, studentised",
}
_NULL = ("null", "spread", "spread_control", "rare_null")


@dataclass(frozen=True)
class Situation:
    pairs: str
    metric: str
    effect: str

    def __str__(self) -> str:
        return f"{self.pairs} {self.metric} {self.effect}"


_EFFECTS = ("null", "lift", "spread", "spread_control", "rare", "rare_null")
SITUATIONS = (
    *(Situation("one", metric, effect) for metric in ("recall", "graded") for effect in _EFFECTS),
    *(Situation(pairs, "recall", effect) for pairs in ("lognormal", "zipf") for effect in (*_EFFECTS, "heavy")),
)


@dataclass(frozen=True)
class Cell:
    """What became of the logs of one situation with so many queries."""

    shown: float
    """The share of logs that show an interval."""
    coverage: float | None
    """None where the cell is refused."""
    p_size: float | None
    """Share of p < 0.05; None where the arms do differ."""
    swap_size: float | None
    """The same of the randomisation test that swaps the arms of a query, for comparison."""
    studentised_size: float | None
    """And of that test of the difference over its standard error."""


# --- Logs -------------------------------------------------------------------------------------------


def draw_pairs(rng: np.random.Generator, pairs: str, shape: tuple[int, int]) -> np.ndarray:
    """[num_queries, num_logs] float64, the held-out pairs of each query."""
    if pairs == "one":
        return np.ones(shape)
    if pairs == "zipf":
        of_rank = np.round(shape[0] / np.arange(1, shape[0] + 1))
        return np.repeat(np.maximum(1.0, of_rank)[:, None], shape[1], axis=1)
    return np.maximum(1.0, np.round(np.exp(rng.normal(np.log(5.0), 1.0, shape))))


def draw_logs(
    rng: np.random.Generator, situation: Situation, num_queries: int, num_logs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numerators of control and treatment, and denominators, each [num_queries, num_logs]."""
    shape = num_queries, num_logs
    pairs = draw_pairs(rng, situation.pairs, shape)

    def draw_rates(concentration: float) -> np.ndarray:
        return rng.beta(_RATE * concentration, (1.0 - _RATE) * concentration, shape)

    def hit(rates: np.ndarray) -> np.ndarray:
        hits = rng.binomial(pairs.astype(np.int64), rates).astype(np.float64)
        return hits if situation.metric == "recall" else hits / np.log2(1.0 + rng.integers(1, 11, shape))

    shared = draw_rates(4.0)
    control = hit(draw_rates(20.0 if situation.effect == "spread" else 1.0) if "spread" in situation.effect else shared)
    if situation.effect == "spread":
        return control, hit(draw_rates(1.0)), pairs
    if situation.effect == "spread_control":
        return control, hit(draw_rates(20.0)), pairs
    if situation.effect in ("rare", "rare_null"):
        elsewhere = hit(np.full(shape, 0.5) if situation.effect == "rare" else shared)
        return control, np.where(rng.random(shape) < 0.05, elsewhere, control), pairs
    lifts = {"null": 1.0, "lift": 1.2, "heavy": 1.0 + 0.3 * np.tanh(np.log(pairs / 5.0))}
    return control, hit(np.minimum(1.0, shared * lifts[situation.effect])), pairs


def find_truth(situation: Situation, num_queries: int, blocks: int = 20) -> tuple[float, float]:
    """The difference and the relative difference that intervals have to cover, from 200,000 queries a block."""
    if situation.effect in _NULL:
        return 0.0, 0.0
    rng, sums = np.random.default_rng(1), np.zeros(3)
    for _ in range(blocks):
        sums += [part.sum() for part in draw_logs(rng, situation, num_queries, max(1, 200_000 // num_queries))]
    control, treatment, pairs = sums
    return (treatment - control) / pairs, treatment / control - 1.0


# --- One seed ---------------------------------------------------------------------------------------


def simulate(situation: Situation, num_queries: int, num_logs: int, seed: int = 0) -> Cell:
    """Draws logs until `num_logs` show an interval, or it is clear that too few of them do."""
    rng = np.random.default_rng((seed, num_queries, SITUATIONS.index(situation)))
    truth, is_null = find_truth(situation, num_queries), situation.effect in _NULL
    covered, found, drawn, shown = np.zeros(2), np.zeros(3), 0, 0
    waiting = [np.empty((num_queries, 0))] * 3
    while shown < num_logs:
        logs = draw_logs(rng, situation, num_queries, _BLOCK)
        drawn += _BLOCK
        kept = _is_shown(*logs)
        waiting = [np.hstack([before, part[:, kept]]) for before, part in zip(waiting, logs)]
        if shown + waiting[0].shape[1] < LEAST_SHOWN * drawn and drawn >= num_logs:
            return Cell((shown + waiting[0].shape[1]) / drawn, None, None, None, None)
        if waiting[0].shape[1] < min(_BLOCK, num_logs - shown):
            continue
        control, treatment, pairs = (part[:, :_BLOCK] for part in waiting)
        waiting = [part[:, _BLOCK:] for part in waiting]
        result = statistics.compare_paired(control, treatment, pairs, seed=int(rng.integers(2**31)))
        shown += control.shape[1]
        for i, (true, interval) in enumerate(zip(truth, (result.interval, result.relative_interval))):
            # Without a hit in the control the relative difference has no interval, which is no error.
            covered[i] += np.count_nonzero(~((interval[0] > true + 1e-12) | (interval[1] < true - 1e-12)))
        if is_null:
            p_values = [result.p_value, *swap_arms(treatment - control, pairs, rng)]
            found += np.count_nonzero(np.stack(p_values) < 0.05, axis=1)
    sizes = (found / shown).tolist() if is_null else [None] * 3
    return Cell((shown + waiting[0].shape[1]) / drawn, float(covered.min()) / shown, *sizes)


def _is_shown(control: np.ndarray, treatment: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """[num_logs] bool, whether the gate lets an interval be shown."""
    support = statistics.measure_support(treatment - control, pairs)
    return np.array([rows.explain_refusal(support, log) is None for log in range(pairs.shape[1])])


def swap_arms(
    gain: np.ndarray, pairs: np.ndarray, rng: np.random.Generator, samples: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """[num_logs] p of the randomisation test in which each query swaps its arms with probability 1/2.

    The second is of the difference over its linearised standard error, which the swaps change too.

    References:
        Janssen 1997, Statistics & Probability Letters 36(1), 9-21, for the studentised test.
    """
    signs = 2.0 * (rng.random((samples, len(gain))) < 0.5) - 1.0
    signs[0] = 1.0  # the log as it is
    swapped = signs @ gain
    ratio = swapped / pairs.sum(axis=0)
    # sum_c (s_c gain_c - ratio d_c)^2, the squared standard error but for its constant.
    spread = np.square(gain).sum(axis=0) - 2.0 * ratio * (signs @ (gain * pairs))
    spread += np.square(ratio) * np.square(pairs).sum(axis=0)
    statistics_of = np.abs(swapped), np.abs(swapped) / np.sqrt(np.maximum(spread, 1e-12))
    plain, studentised = (np.mean(each >= each[0] * (1.0 - 1e-12), axis=0) for each in statistics_of)
    return plain, studentised


# --- Several seeds ----------------------------------------------------------------------------------


def simulate_seeds(pairs: str, num_queries: int, num_seeds: int, num_logs: int, seed: int = 0) -> float | None:
    """Coverage of the difference of two equal methods over queries and seeds; None where intervals are refused."""
    rng = np.random.default_rng((seed, num_queries, num_seeds))
    covered, shown, shape = 0, 0, (num_seeds, num_queries)
    for done in range(1, num_logs + 1):
        denominators = draw_pairs(rng, pairs, (num_queries, 1))[:, 0]
        shared = rng.beta(4.0 * _RATE, 4.0 * (1.0 - _RATE), num_queries)
        lifts = (
            1.0 + rng.normal(0.0, 0.05, (num_seeds, 1)) + rng.normal(0.0, 0.2, shape) for _ in ("control", "treatment")
        )
        arms = [rng.binomial(denominators.astype(np.int64), np.clip(shared * lift, 0.0, 1.0)) for lift in lifts]
        gain = (arms[1] - arms[0]).mean(axis=0)
        support = statistics.measure_support(gain[:, None], denominators[:, None])
        if rows.explain_refusal(support, 0) is None:
            effective = float(min(support.effective[0], support.differing[0]))
            control, treatment = (arm.astype(np.float64) for arm in arms)
            low, high = rows.compare_over_seeds(control, treatment, denominators, effective, 0.95)["interval"]
            covered, shown = covered + (low <= 0.0 <= high), shown + 1
        elif done >= 100 and shown < LEAST_SHOWN * done:
            return None
    return covered / shown


# --- Report -----------------------------------------------------------------------------------------


def show_line(name: str, cells: Sequence[str]) -> None:
    print(f"{name:34}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


def describe(cell: Cell) -> str:
    if cell.coverage is None:
        return "refused"
    return f"{cell.coverage:.3f}" + ("" if cell.shown > 0.995 else f" ({cell.shown:.0%})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulates how often the report's intervals cover.")
    parser.add_argument("--logs", type=int, default=LOGS, help="simulated logs of a cell")
    logs, started = parser.parse_args().logs, time.monotonic()
    columns = [f"n = {n:,}" for n in QUERIES]

    show_line("coverage of 95% intervals", [f"{column} " for column in columns])
    cells: dict[tuple[Situation, int], Cell] = {}
    for situation in SITUATIONS:
        cells |= {(situation, n): simulate(situation, n, logs) for n in QUERIES}
        show_line(str(situation), [describe(cells[situation, n]) for n in QUERIES])

    for name, title in _SIZES.items():
        show_line(f"p < 0.05, {title}", columns)
        for situation in SITUATIONS:
            if situation.effect in _NULL:
                sizes = [getattr(cells[situation, n], name) for n in QUERIES]
                show_line(str(situation), ["refused" if size is None else f"{size:.3f}" for size in sizes])

    show_line("coverage over queries and seeds", columns[:-1])
    over_seeds: list[float] = []
    for pairs in ("one", "lognormal"):
        for num_seeds in SEEDS:
            found = [simulate_seeds(pairs, n, num_seeds, logs) for n in QUERIES[:-1]]
            show_line(f"{pairs}, {num_seeds} seeds", ["refused" if each is None else f"{each:.3f}" for each in found])
            over_seeds += [each for each in found if each is not None]
    if logs == LOGS:
        record_claims(cells, over_seeds, time.monotonic() - started)


def record_claims(cells: dict[tuple[Situation, int], Cell], over_seeds: Sequence[float], seconds: float) -> None:
    def claim(id: str, what: str, value: float) -> None:
        record("retrieval", id=id, what=what, value=value, command=COMMAND, seconds=seconds)

    shown = {key: cell for key, cell in cells.items() if cell.coverage is not None}
    covered = {key: cell.coverage for key, cell in shown.items() if cell.coverage is not None}
    lowest = min(*covered.values(), *over_seeds)
    what = f"lowest coverage of the report's 95% intervals over {len(covered) + len(over_seeds)} simulated situations"
    claim("interval_coverage_low", f"{what} that show one; {len(cells) - len(shown)} are refused", lowest)
    for n in QUERIES:
        if at_n := [value for (_, num_queries), value in covered.items() if num_queries == n]:
            claim(f"interval_coverage_at_{n}", f"lowest coverage with {n:,} queries, {len(at_n)} situations", min(at_n))
    claim("interval_coverage_seeds_low", "lowest coverage over queries and seeds", min(over_seeds))
    for name, what in _SIZES.items():
        sizes = [size for cell in shown.values() if (size := getattr(cell, name)) is not None]
        claim(f"{name}_high", f"largest share of p < 0.05 where there is no difference, {what}", max(sizes))


if __name__ == "__main__":
    main()
