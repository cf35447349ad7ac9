"""Our encoder beside timm's: a script takes the place of the interpreter that has timm."""

import json
import sys

import numpy as np
import pytest

from benchmarks.claims import load
from benchmarks.images import measured, speed
from benchmarks.workers import time_in_turns, worker_command
from recsys_ssl.encoders.image.settings import ViTConfig

SIZES = ViTConfig(size=4, channels=1, patch=2, dim=8, depth=1, num_heads=2, dropout=0.0)
# Patches and their bias; a token; positions of five; in the block two norms, qkv, out and the perceptron; the last
# norm; the head of ten classes.
WEIGHTS = (4 * 8 + 8) + 8 + 5 * 8 + (2 * 16 + 8 * 24 + 24 + 8 * 8 + 8 + 8 * 32 + 32 + 32 * 8 + 8) + 16 + (16 * 10 + 10)


def make_interpreter(folder, weights):
    script = folder / "python"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\nimport numpy as np\n"
        "assert sys.argv[1] == '-I' and sys.argv[2].endswith('timm_worker.py'), sys.argv\n"
        "given = np.load(sys.argv[3])\n"
        "assert given['images'].shape == (6, 1, 4, 4) and given['labels'].shape == (6,), given\n"
        "assert json.loads(str(given['sizes']))['patch'] == 2\n"
        f"print({weights}, flush=True)\n"
        "for line in sys.stdin:\n    print(1000.0 * int(line), flush=True)\n"
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(speed, "NETS", {"mini": (SIZES, 2)})
    # The threads of a process that has begun to compute cannot be set any more.
    monkeypatch.setattr("tensorflow.config.threading.set_intra_op_parallelism_threads", lambda _: None)
    monkeypatch.setattr("tensorflow.config.threading.set_inter_op_parallelism_threads", lambda _: None)


def test_the_claim_is_the_ratio_of_rates(tmp_path, small, capsys):
    python = make_interpreter(tmp_path, WEIGHTS)
    speed.main(["--batch-size", "6", "--rounds", "3", "--python", str(python)], tmp_path)
    found = json.loads((tmp_path / "images" / "speed.json").read_text())
    (row,) = found["rows"]
    assert (row["weights"], row["rates"]["timm"]) == (WEIGHTS, round(6 * 2 / 2000.0, 1))
    assert row["ratio"] > 1000  # a step of the small net takes no second
    (claim,) = load(tmp_path / "images.json")
    assert (claim.id, claim.value, claim.interval) == ("train_rate_vs_timm", row["ratio"], tuple(row["interval"]))
    assert claim.command == f"{speed.COMMAND} --batch-size 6 --rounds 3"
    assert "4 x 4 x 1, patches of 2, 1 blocks of 8" in measured.render_speed(found)


def test_nets_of_other_sizes_are_not_compared(tmp_path, small):
    with pytest.raises(ValueError, match=f"weights must be as many. Received: {WEIGHTS} and 5"):
        speed.measure("mini", 6, 1, make_interpreter(tmp_path, 5))


def test_a_step_trains(small):
    rng = np.random.default_rng(0)
    trainer = speed.Trainer(SIZES, rng.normal(size=[6, 4, 4, 1]).astype(np.float32), np.arange(6))
    before = [variable.numpy() for variable in trainer._variables]
    assert trainer.take(1) > 0
    assert all(np.abs(variable - old).max() > 0 for variable, old in zip(trainer._variables, before))


def test_a_missing_interpreter_is_told_with_its_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="Make it with the commands at the top of recipe.py"):
        worker_command(tmp_path / "python", tmp_path / "worker.py", "recipe.py")


def test_arms_take_turns_and_who_begins_alternates():
    turns = []

    def arm(name, seconds):
        def run():
            turns.append(name)
            return seconds

        return run

    found = time_in_turns({"a": arm("a", 1.0), "b": arm("b", 2.0)}, 3)
    assert turns == ["b", "a", "a", "b", "b", "a"]
    assert {name: values.tolist() for name, values in found.items()} == {"a": [1.0] * 3, "b": [2.0] * 3}
