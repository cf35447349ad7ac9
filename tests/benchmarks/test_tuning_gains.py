"""What searches gain and what untuned defaults lose, on made trainings; no encoder or tower is trained."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.claims import load
from benchmarks.tuning import gain_numbers, gain_tables, gains, trained, untuned
from benchmarks.tuning.objectives import Kind, Scores, Subject
from benchmarks.tuning.trainings import (
    DEFAULT,
    FIRST_FRESH,
    GAINS,
    SEARCH,
    TUNED,
    Training,
    pair,
    pair_longer,
    read_trainings,
)
from recsys_ssl.tuning.space import Ladder, LogUniform

SPACE = {"rate": LogUniform(0.01, 1.0), "width": Ladder((8, 16, 32))}


def made_score(settings, seed):
    """Best at a rate of 0.1 and the largest width; the default is 0.5."""
    if not settings:
        return 0.5 + 0.001 * seed
    return 0.9 - 0.1 * abs(np.log10(settings["rate"]) + 1) - 0.1 * (32 - settings["width"]) / 24 + 0.001 * seed


@pytest.fixture
def made(tmp_path):
    trained = []

    def make(data, amount):
        def train(settings, seed, is_test):
            trained.append((dict(settings), seed, is_test, amount))
            score = made_score(settings, seed)
            return Scores(score, score - 0.05 if is_test else None)

        return Subject(SPACE, "made", train)

    path = tmp_path / "gains.jsonl"

    def run(trials=12, again=2, fresh=4, amount=64):
        gains.compare("sit", Kind(make, 1, 1), None, path, amount, 64, trials, again, fresh)

    run.path, run.trained = path, trained
    return run


def test_defaults_and_best_are_trained_with_seeds_that_the_search_did_not_use(made):
    made()
    found = read_trainings(made.path)
    of_arm = {arm: [each for each in found if each.arm == arm] for arm in (SEARCH, DEFAULT, TUNED)}
    fresh = list(range(FIRST_FRESH, FIRST_FRESH + 4))
    assert [each.seed for each in of_arm[DEFAULT]] == [each.seed for each in of_arm[TUNED]] == fresh
    assert {each.seed for each in of_arm[SEARCH]} == {0, 1, 2}
    assert all(each.test is None for each in of_arm[SEARCH])
    best = max((each for each in of_arm[SEARCH] if each.seed == 0), key=lambda each: each.validation)
    assert {str(each.settings) for each in of_arm[TUNED]} == {str(best.settings)}  # of scores without any luck
    assert {each.trials for each in of_arm[TUNED]} == {12}


def test_a_killed_study_goes_on_where_it_was(made):
    made()
    whole, trained = made.path.read_bytes(), list(made.trained)
    lines = whole.splitlines(keepends=True)
    made.path.write_bytes(b"".join(lines[:9]) + lines[9][:20])
    made.trained.clear()
    made()
    assert made.trained == trained[9:]
    again = [dataclasses.replace(each, seconds=0.0) for each in read_trainings(made.path)]
    made.path.write_bytes(whole)
    assert again == [dataclasses.replace(each, seconds=0.0) for each in read_trainings(made.path)]


def test_what_a_search_found_is_compared_in_longer_trainings_without_a_new_search(made):
    made()
    shorter, made.trained[:] = len(made.trained), []
    made(fresh=3, amount=256)
    assert [amount for *_, amount in made.trained] == [256] * 6
    found = read_trainings(made.path)
    assert len(found) == shorter + 6
    assert (pair(found, "sit").amount, len(pair(found, "sit").seeds)) == (64, 4)
    (longer,) = pair_longer(found, "sit")
    assert (longer.amount, longer.seeds, longer.settings) == (256, [10, 11, 12], pair(found, "sit").settings)
    assert pair_longer(found, "recommender") == []


def training(arm, seed, test, trials=0, settings=None, **changes):
    facts = {"subject": "sit", "data": "made", "amount": 64, "validation": test + 0.1, "seconds": 2.0, **changes}
    return Training(arm=arm, seed=seed, trials=trials, settings=settings or {}, test=test, **facts)


def test_the_gain_is_that_of_pairs_of_seeds():
    default, tuned = [0.50, 0.52, 0.51], [0.60, 0.58, 0.63]
    rows = [training(DEFAULT, 10 + i, of) for i, of in enumerate(default)]
    rows += [training(TUNED, 10 + i, of, 12, {"rate": 0.1}) for i, of in enumerate(tuned)]
    strangers = [
        training(DEFAULT, 13, 0.9),  # no partner
        training(TUNED, 10, 0.9, 6, {"rate": 0.2}),  # of a shorter search
        training(DEFAULT, 11, 0.9, data="other"),
        training(DEFAULT, 12, 0.9, amount=128),
        training(TUNED, 11, 0.9, 24, {"rate": 0.3}, subject="recommender"),
    ]
    found = pair([*strangers, *rows[::-1]], "sit")
    assert (found.default, found.tuned, found.seeds) == (default, tuned, [10, 11, 12])
    assert (found.trials, found.settings) == (12, {"rate": 0.1})
    assert found.validation == pytest.approx((np.mean(default) + 0.1, np.mean(tuned) + 0.1))
    assert found.seconds == 6 * 2.0
    gain, differences = gain_numbers.gain_of(found), np.subtract(tuned, default)
    assert gain.gain == pytest.approx((0.10 + 0.06 + 0.12) / 3)
    expected = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert gain.interval == pytest.approx(expected)
    assert gain.relative == pytest.approx([each / 0.51 for each in (gain.gain, *expected)])


def test_nothing_is_compared_without_three_pairs_or_with_two_best_points():
    rows = [training(arm, seed, 0.5, 12 * (arm == TUNED)) for arm in (DEFAULT, TUNED) for seed in (10, 11)]
    assert gain_numbers.gain_of(pair(rows, "sit")) is None
    assert pair(rows, "recommender") is None
    assert pair(rows[:2], "sit") is None
    with pytest.raises(ValueError, match="one best point"):
        pair([*rows, training(TUNED, 12, 0.5, 12, {"rate": 0.2})], "sit")


def outcome(arm, split, test, fresh=2, dataset="freesolv"):
    trials = 0 if arm == "default" else 8
    facts = {"model": "grover", "space": "finetune", "presentations": 5000, "settings": {}, "training_seconds": 10.0}
    return trained.Outcome(dataset=dataset, arm=arm, repetition=split, trials=trials, fresh=fresh, test=test, **facts)


def test_an_error_that_falls_is_a_gain_over_splits():
    default, tuned = [[2.0, 2.2], [1.5, 1.7], [3.0, 3.0]], [[1.8, 1.8], [1.5, 1.5], [2.5, 2.9]]
    rows = [outcome("default", split, test) for split, test in enumerate(default)]
    rows += [outcome("tpe", split, test) for split, test in enumerate(tuned)]
    strangers = [outcome("tpe", 3, [0.1, 0.1]), outcome("random", 0, [0.1, 0.1]), outcome("tpe", 0, [0.1], fresh=1)]
    strangers += [outcome("default", split, [3.0] * 3, fresh=3) for split in range(4)]
    strangers += [dataclasses.replace(outcome("tpe", split, [2.0] * 3, fresh=3), trials=4) for split in range(4)]
    found, fewer = gain_numbers.gains_over_splits([*rows, *strangers], "grover", "freesolv", "tpe", larger=False)
    expected = [2.1 - 1.8, 1.6 - 1.5, 3.0 - 2.7]
    assert found.gain.gain == pytest.approx(np.mean(expected))
    assert found.gain.interval == pytest.approx(stats.t.interval(0.95, 2, np.mean(expected), stats.sem(expected)))
    assert (found.gain.pairs, found.trials, found.fresh, found.seconds) == (3, 8, 2, 60.0)
    assert (fewer.trials, fewer.fresh, fewer.gain.gain) == (4, 3, pytest.approx(1.0))
    assert gain_numbers.gains_over_splits(rows[:5], "grover", "freesolv", "tpe", larger=False) == []


def test_what_shorter_searches_found_is_compared_in_longer_trainings():
    short = [dataclasses.replace(outcome("tpe", split, [2.0] * 2), settings={"dropout": split}) for split in range(3)]
    long = [
        dataclasses.replace(outcome(arm, split, [score] * 2), presentations=9000, searched=searched)
        for split in range(3)
        for arm, score, searched in (("default", 2.0, 0), ("tpe", 1.0 + 0.1 * split, 5000), ("tpe", 0.1, 4000))
    ]
    assert trained.find_shorter(long[1], short) == short[0]
    assert trained.find_shorter(long[0], short) is None
    with pytest.raises(ValueError, match="of 4,000 molecules. Run it without --searched"):
        trained.find_shorter(long[2], short)
    done = trained.run(long[4], lambda settings, seed: trained.Scores(seed, seed + settings["dropout"]), short[1])
    assert (done.settings, list(done.test)) == ({"dropout": 1}, [2, 3])
    assert done.key == long[4].key != dataclasses.replace(long[4], searched=0).key
    other, found = gain_numbers.gains_over_splits([*short, *long], "grover", "freesolv", "tpe", larger=False)
    assert (found.searched, found.presentations, found.gain.gain) == (5000, 9000, pytest.approx(0.9))
    assert other.searched == 4000


EVIDENCE = {
    "datasets": ["small", "dense", "wide"],
    "best": {"full": {name: {"towers": "none"} for name in ("small", "dense", "wide")}},
    "cells": {"full": {name: {"none": {"recall_at_50": [0.5, 0.01]}} for name in ("small", "dense", "wide")}},
}


def untuned_of(dataset, rule, *tests):
    return [untuned.Untuned(dataset, rule, seed, {}, validation=0.9, test=test) for seed, test in enumerate(tests)]


def test_a_loss_is_relative_to_the_tuned_arm():
    rows = [*untuned_of("dense", "default", 0.4, 0.5), *untuned_of("small", "default", 0.55)]
    rows += untuned_of("other", "default", 0.1)
    found = gain_numbers.find_losses(rows, EVIDENCE)
    assert [(each.dataset, each.seeds, each.arm) for each in found] == [("small", 1, "none"), ("dense", 2, "none")]
    assert [each.relative for each in found] == pytest.approx([1 - 0.55 / 0.5, 1 - 0.45 / 0.5])


def test_a_rule_is_chosen_without_the_log_that_it_is_judged_on():
    losses = [
        gain_numbers.Loss(log, rule, 0.0, 1, 0.0, "none", relative)
        for rule, of in (("a", (0.30, 0.02, 0.03)), ("b", (0.00, 0.04, 0.05)))
        for log, relative in zip(EVIDENCE["datasets"], of)
    ]
    # Without `small`, a loses 0.03 at most and b 0.05; with it, a loses 0.30.
    assert gain_numbers.choose_left_out(losses, ["a", "b"]) == {"small": "a", "dense": "b", "wide": "b"}
    assert gain_numbers.choose_left_out(losses[:4], ["a", "b"]) == {}


def test_a_log_that_no_rule_was_made_on_is_held_against_the_search_of_its_settings():
    rows = [training(DEFAULT, 10, 0.3, subject="recommender"), training(TUNED, 10, 0.4, 12, {}, subject="recommender")]
    tested = untuned_of("movielens-100k", "by_log", 0.38, 0.34)
    (found,) = gain_numbers.find_unseen(tested, pair(rows, "recommender"))
    assert (found.rule, found.seeds, found.tuned) == ("by_log", 2, 0.4)
    assert found.relative == pytest.approx(0.1)
    assert gain_numbers.find_unseen(tested, None) == []


@pytest.fixture
def results(tmp_path):
    rows = [training(DEFAULT, seed, 0.50, seconds=3.0) for seed in range(10, 14)]
    rows += [training(TUNED, seed, 0.51 + 0.01 * (seed % 2), 12, {"rate": 0.125}) for seed in range(10, 14)]
    (tmp_path / "tuning").mkdir()
    rows += [training(DEFAULT, seed, 0.60, amount=256) for seed in range(10, 13)]
    rows += [training(TUNED, seed, 0.60 - 0.01 * (seed % 2), 12, {"rate": 0.125}, amount=256) for seed in range(10, 13)]
    write = gains.records.to_line
    (tmp_path / GAINS).write_text("".join(f"{write(each)}\n" for each in rows))
    of_logs = [*untuned_of("dense", "by_log", 0.4), *untuned_of("small", "by_log", 0.45)]
    of_logs += untuned_of("dense", "default", 0.1)
    (tmp_path / untuned.UNTUNED).write_text("".join(f"{write(each)}\n" for each in of_logs))
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "tables.json").write_text(json.dumps(EVIDENCE))
    return tmp_path


def test_claims_hold_the_lower_bound_and_the_worst_log(results):
    gain_tables.record_claims(gain_tables.read_numbers(results), results)
    claims = {claim.id: claim for claim in load(results / "tuning.json")}
    gains_of_sit = {f"tuned_gain_sit{of}{part}" for of in ("", "_256") for part in ("", "_lower_bound")}
    assert set(claims) == {*gains_of_sit, "untuned_loss_worst"}
    assert claims["tuned_gain_sit_256"].value == pytest.approx(-0.01 / 3)
    assert "--trials 12 --amount 256 --searched 64 --fresh 3" in claims["tuned_gain_sit_256"].command
    gain = claims["tuned_gain_sit"]
    assert gain.value == pytest.approx(0.015)
    assert gain.interval == pytest.approx(stats.t.interval(0.95, 3, 0.015, stats.sem([0.01, 0.02, 0.01, 0.02])))
    assert claims["tuned_gain_sit_lower_bound"].value == gain.interval[0]
    assert gain.seconds == 4 * 3.0 + 4 * 2.0
    assert "--trials 12 --amount 64 --again 0 --fresh 4" in gain.command
    worst = claims["untuned_loss_worst"]
    assert worst.value == pytest.approx(0.2)
    assert "of dense, over small, dense; not run: wide" in worst.what


def test_tables_name_what_was_not_run_and_mark_what_is_above_zero(results):
    numbers = gain_tables.read_numbers(results)
    lines = gain_tables.render_searches(numbers).splitlines()
    sit, longer = (line for line in lines if line.startswith("| SiT"))
    assert "| the same; compared at 256 images | 60.00% | 59.67% | −0.33 (" in longer
    assert "| 50.00% | 51.50% | **+1.50 (" in sit
    assert sum("not measured yet" in line for line in lines) == 2
    assert "`rate` 0.125" in gain_tables.render_settings(numbers)
    table = gain_tables.render_untuned(numbers)
    assert "| dense | 50.00 (no regularisation) | 10.00 (−80.0%, 1 seed) | 40.00 (−20.0%, 1 seed) |" in table
    assert "| wide | not run | not run | not run |" in table
