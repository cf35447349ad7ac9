import json

import numpy as np
import pytest

from benchmarks.evidence import step_cost, tables
from benchmarks.evidence.measurements import FILES, load_measurements, render_step_cost
from benchmarks.evidence.step_cost import NONE, SSL_BATCH_SIZES, Variant, list_variants
from benchmarks.evidence.trials import RECOMMENDED, REGULARIZERS

OURS = Variant(RECOMMENDED, 512)


@pytest.mark.parametrize("own_size", [256, 512, 300], ids=["small", "large", "no_size_of_the_sweep"])
def test_every_regulariser_and_every_size_has_one_variant(own_size):
    variants = list_variants(own_size)
    sizes = {variant.ssl_batch_size for variant in variants if variant.arm == RECOMMENDED}
    assert sizes == {own_size, *SSL_BATCH_SIZES}
    assert [variant.arm for variant in variants] == [*REGULARIZERS, *(len(sizes) - 1) * [RECOMMENDED]]
    assert {variant.ssl_batch_size for variant in variants if variant.arm != RECOMMENDED} == {None, own_size}
    assert len(set(variants)) == len(variants)


def test_a_drift_of_the_machine_leaves_the_ratio():
    base = 10.0 * np.linspace(1.0, 5.0, 20)  # the machine gets five times slower
    assert step_cost.compare_times(1.5 * base, base) == pytest.approx((1.5, 1.5, 1.5))


def test_a_disturbed_turn_leaves_the_median_ratio():
    times, base = np.full(21, 15.0), np.full(21, 10.0)
    times[3] = 1000.0
    base[7] = 90.0
    assert step_cost.compare_times(times, base) == pytest.approx((1.5, 1.5, 1.5))


def test_the_interval_holds_a_planted_ratio_and_narrows_with_rounds():
    rng = np.random.default_rng(0)
    base, noise = rng.uniform(10.0, 20.0, 900), rng.lognormal(0.0, 0.1, 900)
    few = step_cost.compare_times(1.3 * base[:9] * noise[:9], base[:9])
    many = step_cost.compare_times(1.3 * base * noise, base)
    assert many[1] < 1.3 < many[2]
    assert many[2] - many[1] < 0.5 * (few[2] - few[1])
    assert many[1] <= many[0] <= many[2]


def test_steps_are_timed_in_shuffled_turns_on_the_same_batches(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(step_cost.time, "perf_counter", lambda: clock[0])
    turns = []

    def runner(variant, milliseconds):
        def take_step(batch):
            clock[0] += milliseconds / 1000.0
            turns.append((variant, batch))
            return {"loss": 0.0}

        return take_step

    runners = {NONE: runner(NONE, 20.0), OURS: runner(OURS, 30.0)}
    taken = step_cost.time_rounds(runners, [1, 2, 3], rounds=8, steps=2, name="made up")
    np.testing.assert_allclose(taken[NONE], 8 * [20.0])
    np.testing.assert_allclose(taken[OURS], 8 * [30.0])
    own = {variant: [batch for of, batch in turns if of == variant] for variant in runners}
    assert own[NONE] == own[OURS] == [1, 2, 3, *(1 + i % 3 for i in range(16))]
    first_of_round = [turns[6 + 4 * number][0] for number in range(8)]
    assert set(first_of_round) == {NONE, OURS}


def test_a_row_holds_medians_and_the_ratio_to_none():
    none, ours = step_cost.summarise("frappe", {NONE: np.array([9.0, 10.0, 30.0]), OURS: np.array([18.0, 20.0, 60.0])})
    assert (none["ms"], none["ratio"], none["interval"]) == (10.0, 1.0, [1.0, 1.0])
    facts = {"dataset": "frappe", "arm": RECOMMENDED, "ssl_batch_size": 512}
    assert ours == {**facts, "ms": 20.0, "ratio": 2.0, "interval": [2.0, 2.0]}


def test_the_worst_data_set_is_that_of_the_recommended_arm_at_its_own_size():
    others = [make_row("frappe", "cfm", 256, 9.0), make_row("frappe", RECOMMENDED, 512, 8.0)]
    rows = [make_row("frappe", RECOMMENDED, 256, 1.2), *others, make_row("debian", RECOMMENDED, 512, 1.4)]
    assert step_cost.find_worst(rows, {"frappe": 256, "debian": 512}) == rows[-1]


# --- Table ------------------------------------------------------------------------------------------


def test_the_table_has_arms_at_the_own_sizes_and_then_the_sizes():
    own_sizes = {"frappe": 256, "debian": 512}
    rows = [
        make_row(name, *variant, 1.0 if variant == NONE else 1.25 + 0.5 * (variant.ssl_batch_size == 512))
        for name, size in own_sizes.items()
        for variant in list_variants(size)
    ]
    lines = render_step_cost(make_results(rows, own_sizes)).splitlines()
    assert lines[0] == "| Regulariser | Frappe | Debian |"
    assert lines[2] == f"| {REGULARIZERS['none']} | 10.0 ms | 10.0 ms |"
    dear, cheap = "17.5 ms, 1.75× (1.65 to 1.85)", "12.5 ms, 1.25× (1.15 to 1.35)"
    assert f"| {REGULARIZERS['feature_dropout']} | {cheap} | {cheap} |" in lines
    assert f"| {REGULARIZERS[RECOMMENDED]} | {cheap} | {dear} |" in lines
    assert lines[lines.index("| `ssl.batch_size` | Frappe | Debian |") + 2 :][:4] == [
        f"| 128 | {cheap} | {cheap} |",
        f"| 256 | **{cheap}** | {cheap} |",
        f"| 512 | {dear} | **{dear}** |",
        f"| 1024 | {cheap} | {cheap} |",
    ]


def test_a_missing_file_says_so_and_a_present_one_reaches_the_table(tmp_path):
    assert load_measurements(tmp_path) == {"step_cost": None, "embeddings": None, "starts": None}
    assert "not measured yet" in tables.RENDERERS["step_cost"]({})
    path = tmp_path / FILES["step_cost"]
    path.parent.mkdir()
    results = make_results([make_row("frappe", *NONE, 1.0), make_row("frappe", *OURS, 1.5)], {"frappe": 512})
    path.write_text(json.dumps(results))
    assert tables.RENDERERS["step_cost"](load_measurements(tmp_path)) == render_step_cost(results)


def make_row(dataset, arm, size, ratio):
    interval = [ratio - 0.1, ratio + 0.1]
    facts = {"dataset": dataset, "arm": arm, "ssl_batch_size": size}
    return {**facts, "ms": 10.0 * ratio, "ratio": ratio, "interval": interval}


def make_results(rows, own_sizes):
    facts = {"recommended": RECOMMENDED, "labels": dict(REGULARIZERS), "own_sizes": own_sizes}
    return {**facts, "rounds": 30, "steps": 10, "hardware": "a CPU, 2 cores, 8 GiB", "seconds": 1.0, "rows": rows}
