"""`recsys-ssl pretrain` and `recsys-ssl embed` from files to files, and their errors as one message."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.embed import Embedder
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.settings import parse_section

SMILES = [f"{'C' * n}{end}" for n in range(1, 9) for end in ("O", "N", "C(=O)O", "Cl", "c1ccccc1")]
SETTINGS = {
    "hidden_dim": 8,
    "num_heads": 2,
    "steps": 4,
    "eval_every": 2,
    "batch_size": 8,
    "min_count": 1,
    "validation_share": 0.25,
}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # nothing wraps
    monkeypatch.setenv("TERM", "dumb")  # nor has colours


@pytest.fixture
def smiles_file(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("\n".join([*SMILES[:3], "C1CC", *SMILES[3:], "nonsense"]))
    return path


def check_error(result, *parts):
    """One message, exit status 1, no trace."""
    assert result.status == 1
    assert "Traceback" not in result.output
    assert result.output.count("error: ") == 1
    assert [part for part in parts if part not in result.output] == [], result.output


def test_molecules_become_an_encoder_and_vectors(cli, smiles_file, tmp_path):
    """Both commands, since the second needs what the first makes."""
    settings = [f"--set=pretrain.{key}={value}" for key, value in SETTINGS.items()]
    workdir, vectors = tmp_path / "run", tmp_path / "vectors.parquet"
    result = cli("pretrain", "molecule", "--data", smiles_file, "--workdir", workdir, *settings)
    assert result.status == 0, result.output
    for part in ("✓ pretrain molecule", "rejected: 2 unparsable", "atom top1", str(workdir / "encoder")):
        assert part in result.output
    stored = json.loads((workdir / "pretrain.json").read_text())
    assert stored["config"].items() >= SETTINGS.items()
    assert stored["last_step"] == 4

    result = cli("embed", "molecule", "--model", workdir / "encoder", "--data", smiles_file, "--to", vectors)
    assert result.status == 0, result.output
    for part in ("40 vectors, 2 rejected", str(vectors), f"{vectors}.rejected.jsonl"):
        assert part in result.output
    table = pq.read_table(vectors).to_pydict()
    assert table["text"] == SMILES
    assert table["row"] == [0, 1, 2, *range(4, 41)]
    expected = Embedder(store.load(workdir / "encoder")).embed(SMILES)
    np.testing.assert_allclose(np.array(table["vector"], np.float32), expected, rtol=1e-4, atol=1e-5)
    rejected = [json.loads(line) for line in vectors.with_name("vectors.parquet.rejected.jsonl").open()]
    assert [(line["row"], line["reason"]) for line in rejected] == [(3, "unparsable"), (41, "unparsable")]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_missing_file_is_an_error(cli, tmp_path):
    result = cli("pretrain", "molecule", "--data", tmp_path / "no.smi", "--workdir", tmp_path)
    check_error(result, "a file of SMILES must exist")


def test_a_missing_encoder_is_an_error(cli, smiles_file, tmp_path):
    to = tmp_path / "out" / "vectors.parquet"
    result = cli("embed", "molecule", "--model", tmp_path, "--data", smiles_file, "--to", to)
    check_error(result, "an encoder must have config.json")
    assert not to.exists()


def test_another_kind_is_an_error(cli, smiles_file, tmp_path):
    result = cli("pretrain", "protein", "--data", smiles_file, "--workdir", tmp_path)
    assert result.status == 2
    assert "protein" in result.output
    assert "Error" in result.output


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("train.steps=2", ["a setting is SECTION.KEY=VALUE with a section of pretrain", "'train.steps=2'"]),
        ("pretrain.step=2", ["unknown setting pretrain.step. Use one of: seed, batch_size"]),
        ("pretrain.steps=many", ["pretrain.steps: ", "Received: 'many'"]),
        ("pretrain.steps=[", ["pretrain.steps: the value must be YAML"]),
        ("pretrain.mask_rate=2", ["pretrain.mask_rate must be in (0, 1)"]),
        ("pretrain.size=huge", ["pretrain.size: ", "Received: 'huge'"]),
    ],
)
def test_a_setting_that_cannot_be_is_an_error(cli, smiles_file, tmp_path, setting, parts):
    check_error(cli("pretrain", "molecule", "--data", smiles_file, "--workdir", tmp_path, "--set", setting), *parts)


def test_settings_are_read_as_yaml():
    found = parse_section("pretrain", PretrainConfig, ["pretrain.mask_inputs=false", "pretrain.max_learning_rate=2e-3"])
    assert found == PretrainConfig(mask_inputs=False, max_learning_rate=2e-3)
