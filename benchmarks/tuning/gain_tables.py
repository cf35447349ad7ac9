"""Writes the tables of what searches gain and what untuned defaults lose, in docs/*.md, and their claims.

python -m benchmarks.tuning.gain_tables           from what is committed; records the claims and writes the tables
python -m benchmarks.tuning.gain_tables --check   changes nothing and fails when a table is stale

A table stands between `<!-- gains:NAME -->` and `<!-- /gains:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import pages
from benchmarks.claims import RESULTS, ROOT, record
from benchmarks.evidence import tables as evidence
from benchmarks.evidence.cells import bold, grid, percent, signed
from benchmarks.evidence.trials import ARMS
from benchmarks.molecules.datasets import DATASETS
from benchmarks.tuning.gain_numbers import (
    UNSEEN,
    Gain,
    Loss,
    Splits,
    choose_left_out,
    find_losses,
    find_unseen,
    gain_of,
    gains_over_splits,
)
from benchmarks.tuning.trained import ADOPTED, OUTCOMES, STUDIED, read_outcomes
from benchmarks.tuning.trainings import GAINS, Compared, pair, pair_longer, read_trainings
from benchmarks.tuning.untuned import BY_LOG, DEFAULT, RULES, UNTUNED, Untuned, read_untuned
from recsys_ssl.tuning.space import write_value

WORD = "gains"
TOPIC = "tuning"
_COMMAND = "python -m benchmarks.tuning.gains"
_SUBJECTS = {
    "recommender": ("towers with item masks on MovieLens-100K", "Recall@50", f"{_COMMAND} recommender", "steps"),
    "sit": (
        "SiT, `vit=mini`, pre-trained on Fashion-MNIST",
        "accuracy of a linear probe",
        f"{_COMMAND} sit --data DIR",
        "images",
    ),
}
_GROVER = "GROVER, 32 wide, fine-tuned from random weights on FreeSolv"
_GROVER_COMMAND = "python -m benchmarks.tuning.trained --data DIR --model grover --datasets freesolv --arms default tpe"
_ADOPTED_COMMAND = "python -m benchmarks.tuning.trained --data DIR --model grover --arms default adopted"
_UNTUNED_COMMAND = "python -m benchmarks.tuning.untuned"


class Numbers(NamedTuple):
    """All that the tables and claims are made of.

    Attributes:
        compared: subject -> its comparison, of those that were run.
        longer: the same settings in longer trainings.
        grover: by budgets, that of most trials first; none where it was not run.
        adopted: data set and whether the encoder was pre-trained -> what defaults that were found gain over those set
            by hand, on splits that none of the searches they come from saw.
        evidence: numbers of `benchmarks.evidence.tables`.
    """

    compared: Mapping[str, Compared]
    longer: Sequence[Compared]
    grover: Sequence[Splits]
    adopted: Mapping[tuple[str, bool], Splits]
    untuned: Sequence[Untuned]
    evidence: Mapping[str, Any]

    @property
    def losses(self) -> list[Loss]:
        """On the logs of the evidence, which the rules were made on."""
        return find_losses(self.untuned, self.evidence)

    @property
    def unseen(self) -> list[Loss]:
        return find_unseen(self.untuned, self.compared.get("recommender"))


def read_numbers(results: Path = RESULTS) -> Numbers:
    trainings = read_trainings(results / GAINS)
    found = {subject: pair(trainings, subject) for subject in _SUBJECTS}
    outcomes = read_outcomes(results / OUTCOMES)
    grover = gains_over_splits(outcomes, "grover", "freesolv", "tpe", larger=False)
    adopted = {}
    for dataset in STUDIED:
        larger = DATASETS[dataset].task == "classification"
        for of in gains_over_splits(outcomes, "grover", dataset, ADOPTED, larger):
            adopted[dataset, of.is_pretrained] = of
    compared = {subject: of for subject, of in found.items() if of is not None}
    longer = [each for subject in _SUBJECTS for each in pair_longer(trainings, subject)]
    return Numbers(compared, longer, grover, adopted, read_untuned(results / UNTUNED), evidence.load(results))


# --- Tables --------------------------------------------------------------------------------------------


def render_searches(numbers: Numbers) -> str:
    """A row for each subject: what its search gained on the test."""
    rows = []
    for subject, (what, metric, command, unit) in _SUBJECTS.items():
        compared = numbers.compared.get(subject)
        gain = compared and gain_of(compared)
        if gain is None:
            rows.append([what, metric, f"not measured yet: `{command}`", *[""] * 4])
            continue
        rows.append([what, metric, f"{compared.trials} of {compared.amount:,} {unit}", *_shares(gain)])
        for longer in numbers.longer:
            if longer.subject == subject and (gain := gain_of(longer)) is not None:
                rows.append([what, metric, f"the same; compared at {longer.amount:,} {unit}", *_shares(gain)])
    if not numbers.grover:
        rows.append([_GROVER, "RMSE, kcal/mol", f"not measured yet: `{_GROVER_COMMAND}`", *[""] * 4])
    for grover in numbers.grover:
        of_search = f"{grover.trials} of {grover.searched or grover.presentations:,} molecules"
        if grover.searched:
            of_search += f"; compared at {grover.presentations:,} molecules"
        scores = (f"{grover.gain.default:.3f}", f"{grover.gain.tuned:.3f}")
        pairs = _pairs(grover)
        text = bold(_plain(grover.gain), grover.gain.interval[0] > 0)
        rows.append([_GROVER, "RMSE, kcal/mol", of_search, *scores, text, pairs])
    header = ["What is trained", "On the test", "Trials of the search", "Set by hand", "Tuned", "Gain", "Pairs"]
    note = (
        "TPE on validation. Means over the pairs, none of whose seeds the search used; gain: positive where the tuned "
        "settings are better, with its 95% interval of Student's t over the pairs; bold where that is above 0."
    )
    return "\n\n".join([grid(header, rows, left=3), note])


def render_adopted(numbers: Numbers) -> str:
    """A row for each data set and start: the defaults of fine-tuning before and after GROVER's searches."""
    if not numbers.adopted:
        return f"Not measured yet: `{_ADOPTED_COMMAND}`."
    rows = []
    for (dataset, _), of in numbers.adopted.items():
        metric = "ROC-AUC" if DATASETS[dataset].task == "classification" else "RMSE"
        start = "pre-trained" if of.is_pretrained else "random"
        scores = (f"{of.gain.default:.3f}", f"{of.gain.tuned:.3f}")
        text = bold(_plain(of.gain), of.gain.interval[0] > 0)
        rows.append([dataset, metric, start, f"{of.presentations:,}", *scores, text, _pairs(of)])
    header = ["Data set", "On the test", "Weights at first", "Molecules read", "Set by hand", "Now", "Gain", "Pairs"]
    return grid(header, rows, left=3)


def _pairs(of: Splits) -> str:
    return f"{of.gain.pairs} splits, {of.fresh} seed{'s' if of.fresh > 1 else ''} each"


def _shares(gain: Gain) -> list[str]:
    """Defaults, tuned, gain and pairs, in %."""
    low, high = gain.interval
    text = f"{signed(gain.gain, '.2f')} ({signed(low, '.2f')} to {signed(high, '.2f')}) points"
    scores = f"{100 * gain.default:.2f}%", f"{100 * gain.tuned:.2f}%"
    return [*scores, bold(text, low > 0), f"{gain.pairs} seeds"]


def _plain(gain: Gain) -> str:
    low, high = gain.interval
    return f"{gain.gain:+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "\N{MINUS SIGN}")


def render_settings(numbers: Numbers) -> str:
    """What each search found."""
    rows = [
        [_SUBJECTS[subject][0], _settings(of.settings), *(percent(score) for score in of.validation)]
        for subject, of in numbers.compared.items()
    ]
    if not rows:
        return f"Not measured yet: `{_COMMAND} recommender`."
    header = ["What is trained", "Best settings", "Validation, defaults", "Validation, tuned"]
    note = "Validation in %, of the trainings with fresh seeds."
    return "\n\n".join([grid(header, rows, left=2), note])


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}` {_short(value)}" for name, value in settings.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else write_value(value)


def render_untuned(numbers: Numbers) -> str:
    """A row for each log: the defaults, other rules that were tried, and the tuned settings."""
    losses = [*numbers.losses, *numbers.unseen]
    rules = [rule for rule in RULES if any(loss.rule == rule for loss in losses)]
    if not rules:
        return f"Not measured yet: `{_UNTUNED_COMMAND}`."
    rows = []
    unseen = [UNSEEN] if numbers.unseen else []
    for dataset in [*numbers.evidence["datasets"], *unseen]:
        of_rule = {loss.rule: loss for loss in losses if loss.dataset == dataset}
        if not of_rule:
            rows.append([dataset, *["not run"] * (1 + len(rules))])
            continue
        first = next(iter(of_rule.values()))
        cells = [_loss(of_rule[rule]) if rule in of_rule else "not run" for rule in rules]
        rows.append([dataset, f"{percent(first.tuned)} ({ARMS[first.arm]})", *cells])
    header = ["Log", "Tuned", *(_RULES[rule] for rule in rules)]
    note = (
        "Test Recall@50 in %. Tuned: the arm that validation picks, mean over three seeds, as in the evidence; of "
        f"{UNSEEN}, which no rule was made on, what the search above found. In brackets: what is lost against that, "
        "relative, and how many seeds the mean is of."
    )
    return "\n\n".join([grid(header, rows), note])


_RULES = {
    DEFAULT: "The same on every log",
    "factors": "Ids from a factorisation, smaller steps and batches",
    BY_LOG: "By the log, as a run does",
}


def _loss(loss: Loss) -> str:
    seeds = f"{loss.seeds} seed{'s' if loss.seeds > 1 else ''}"
    return f"{percent(loss.untuned)} ({signed(-loss.relative, '.1f')}%, {seeds})"


def render_left_out(numbers: Numbers) -> str:
    """A row for each log: the rule that does best on the others, and what that loses here."""
    losses = numbers.losses
    chosen = choose_left_out(losses, list(RULES))
    if not chosen:
        return f"Not measured yet: `{_UNTUNED_COMMAND} --rule factors`."
    of = {(loss.dataset, loss.rule): loss for loss in losses}
    rows = [
        [log, _RULES[rule], *(f"{signed(-of[log, each].relative, '.1f')}%" for each in (rule, DEFAULT))]
        for log, rule in chosen.items()
    ]
    header = ["Log left out", "Best on the others", "There", "The same on every log, there"]
    return grid(header, rows, left=2)


RENDERERS: Mapping[str, Callable[[Numbers], str]] = {
    "searches": render_searches,
    "settings": render_settings,
    "adopted": render_adopted,
    "untuned": render_untuned,
    "left_out": render_left_out,
}


# --- Claims --------------------------------------------------------------------------------------------


def record_claims(numbers: Numbers, results: Path = RESULTS) -> None:
    """What each search gains, with the lower end of its interval, and the largest loss of the defaults."""

    def note_gain(subject: str, what: str, gain: Gain, **facts: Any) -> None:
        id = f"tuned_gain_{subject}"
        record(TOPIC, id=id, what=what, value=gain.gain, interval=gain.interval, results=results, **facts)
        bound = f"{what}: lower end of the 95% interval"
        record(TOPIC, id=f"{id}_lower_bound", what=bound, value=gain.interval[0], results=results, **facts)

    for subject, compared in numbers.compared.items():
        gain = gain_of(compared)
        if gain is not None:
            what, metric, command, unit = _SUBJECTS[subject]
            budget = f"search of {compared.trials} trials, {compared.amount:,} {unit} each, {gain.pairs} fresh seeds"
            text = f"{what}: test {metric}, tuned less defaults; {budget}"
            amounts = (
                f"--trials {compared.trials} --amount {compared.amount} --again {compared.again} --fresh {gain.pairs}"
            )
            note_gain(subject, text, gain, command=f"{command} {amounts}", seconds=compared.seconds)
    for longer in numbers.longer:
        gain = gain_of(longer)
        if gain is not None:
            what, metric, command, unit = _SUBJECTS[longer.subject]
            searched = numbers.compared[longer.subject].amount
            text = (
                f"{what}: test {metric}, tuned less defaults; {longer.amount:,} {unit} each, search of {longer.trials} "
                f"trials of {searched:,}, {gain.pairs} fresh seeds"
            )
            amounts = f"--trials {longer.trials} --amount {longer.amount} --searched {searched} --fresh {gain.pairs}"
            facts = {"command": f"{command} {amounts}", "seconds": longer.seconds}
            note_gain(f"{longer.subject}_{longer.amount}", text, gain, **facts)
    for grover in numbers.grover:
        if grover.trials != numbers.grover[0].trials:
            continue
        splits = f"{grover.gain.pairs} random splits, {grover.fresh} fresh seeds each"
        text = f"{_GROVER}: test RMSE, defaults less tuned; searches of {grover.trials} trials, {splits}"
        command = (
            f"{_GROVER_COMMAND} --trials {grover.trials} --fresh {grover.fresh} --presentations {grover.presentations} "
            f"--repetitions {grover.gain.pairs}"
        )
        subject = "grover"
        if grover.searched:
            subject += f"_{grover.presentations}"
            text += f"; trainings of {grover.presentations:,} molecules, those of the searches of {grover.searched:,}"
            command += f" --searched {grover.searched}"
        note_gain(subject, text, grover.gain, command=command, seconds=grover.seconds, unit="kcal/mol")
    for (dataset, is_pretrained), of in numbers.adopted.items():
        start = "a pre-trained encoder" if is_pretrained else "random weights"
        text = (
            f"GROVER, 32 wide, fine-tuned from {start} on {dataset}: test score, defaults that searches on FreeSolv "
            f"found over those set by hand, positive is better; {of.presentations:,} molecules, {_pairs(of)}"
        )
        command = (
            f"{_ADOPTED_COMMAND} --datasets {dataset} --first {of.first} --repetitions {of.gain.pairs} "
            f"--fresh {of.fresh} --presentations {of.presentations}" + (" --encoder DIR" if is_pretrained else "")
        )
        id = f"adopted_gain_{dataset}" + ("_pretrained" if is_pretrained else "")
        facts = {"command": command, "seconds": of.seconds, "results": results}
        record(TOPIC, id=id, what=text, value=of.gain.gain, interval=of.gain.interval, **facts)
    losses = [loss for loss in numbers.losses if loss.rule == BY_LOG]
    if losses:
        worst = max(losses, key=lambda loss: loss.relative)
        logs = [loss.dataset for loss in losses]
        missing = [name for name in numbers.evidence["datasets"] if name not in logs]
        what = (
            "Largest relative loss in test Recall@50 of what a run takes by the log against tuned settings: of "
            f"{worst.dataset}, over {', '.join(logs)}" + (f"; not run: {', '.join(missing)}" if missing else "")
        )
        seconds = sum(each.seconds for each in numbers.untuned if each.rule == BY_LOG and each.dataset in logs)
        seeds = max(loss.seeds for loss in losses)
        command = f"{_UNTUNED_COMMAND} --rule {BY_LOG} --datasets {' '.join(logs)} --seeds {seeds}"
        facts = {"command": command, "seconds": seconds, "results": results}
        record(TOPIC, id="untuned_loss_worst", what=what, value=worst.relative, **facts)
    for loss in numbers.unseen:
        if loss.rule == BY_LOG:
            what = f"The same on {UNSEEN}, which the rules were not made on, against the search of its settings"
            seconds = sum(of.seconds for of in numbers.untuned if (of.dataset, of.rule) == (UNSEEN, BY_LOG))
            command = f"{_UNTUNED_COMMAND} --rule {BY_LOG} --datasets {UNSEEN} --seeds {loss.seeds}"
            facts = {"command": command, "seconds": seconds, "results": results}
            record(TOPIC, id="untuned_loss_unseen", what=what, value=loss.relative, **facts)


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the pages from the committed numbers and returns the stale ones; see `pages.fill_all`."""
    results = root / "benchmarks" / "results"
    return pages.fill_all(root, WORD, lambda name: _render(name, read_numbers(results)), check)


def _render(name: str, numbers: Numbers) -> str:
    if name not in RENDERERS:
        raise ValueError(f"a table of gains must be one of {', '.join(RENDERERS)}. Received: {name!r}. Rename it.")
    return RENDERERS[name](numbers)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    results = root / "benchmarks" / "results"
    return pages.run(
        __doc__.splitlines()[0], arguments, root, lambda: record_claims(read_numbers(results), results), fill_pages
    )


if __name__ == "__main__":
    sys.exit(main())
