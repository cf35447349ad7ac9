"""`recsys-ssl finetune molecule` on a made-up table and an encoder that was never trained."""

import json

import numpy as np
import pandas as pd
import pytest

from recsys_ssl.encoders import store
from recsys_ssl.encoders.finetune import load_predictor, predict
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.scaffolds import scaffold_balanced
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.encoders.molecule.smiles import featurise_all

SETTINGS = [f"--set=finetune.{text}" for text in ("epochs=2", "warmup_epochs=1", "ffn_hidden=8", "attn_hidden=4")]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def encoder(tmp_path):
    config = PretrainConfig(hidden_dim=8, num_heads=2)
    store.save(MoleculeEncoder(config.grover), "molecule", config.grover, tmp_path / "encoder", config)
    return tmp_path / "encoder"


@pytest.fixture
def data(tmp_path):
    """60 rings of their own size and substituents, one SMILES that is none; `size` and `even` are known."""
    smiles = [f"C1{'C' * (2 + i)}1{'N' * (i % 2)}" for i in range(60)]
    table = pd.DataFrame({"smiles": smiles, "size": range(60), "even": [i % 2 for i in range(60)]})
    table.loc[60] = ["C1CC", 1, 1]
    table.to_csv(tmp_path / "rings.csv", index=False)
    return tmp_path / "rings.csv"


def test_writes_predictor_predictions_and_metrics(cli, encoder, data, tmp_path):
    workdir = tmp_path / "work"
    options = ["--column", "smiles", "--target", "size", "--workdir", workdir, *SETTINGS]
    result = cli("finetune", "molecule", "--model", encoder, "--data", data, *options)
    assert result.status == 0, result.output
    facts = json.loads((workdir / "metrics.json").read_text())
    assert (facts["task"], facts["metric"], facts["rejected"]) == ("regression", "rmse", 1)
    assert f"{facts['metrics']['test']:.4f}" in result.output

    table = pd.read_csv(workdir / "predictions.csv")
    parts = scaffold_balanced(table["text"].tolist())
    assert np.flatnonzero(table["part"] == "test").tolist() == parts.test.tolist()
    error = (table["size"] - table["size (predicted)"])[parts.test]
    assert facts["metrics"]["test"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
    stored = load_predictor(workdir / "predictor", "molecule")
    assert (stored.task, stored.targets, stored.column) == ("regression", ["size"], "smiles")
    predicted = predict("molecule", stored.model, list(featurise_all(table["text"])))
    np.testing.assert_allclose(predicted[:, 0], table["size (predicted)"], rtol=1e-4)
    assert json.loads((workdir / "rejected.jsonl").read_text()) == {"row": 60, "reason": "unparsable", "smiles": "C1CC"}

    # `predict` reads what `finetune` wrote.
    new = pd.DataFrame({"smiles": [table["text"][3], "C1CC", table["text"][7]], "other": [1, 2, 3]})
    new.to_csv(tmp_path / "new.csv", index=False)
    to = tmp_path / "found" / "sizes.csv"
    result = cli("predict", "molecule", "--model", workdir / "predictor", "--data", tmp_path / "new.csv", "--to", to)
    assert result.status == 1  # one of three is more than may be rejected
    assert "at most 5% of the rows may give no molecule. Received: 1 unparsable of 3" in result.output
    pd.concat([table[["text"]].rename(columns={"text": "smiles"}), new[1:2]]).to_csv(tmp_path / "new.csv", index=False)
    result = cli("predict", "molecule", "--model", workdir / "predictor", "--data", tmp_path / "new.csv", "--to", to)
    assert result.status == 0, result.output
    found = pd.read_csv(to)
    assert found["text"].tolist() == table["text"].tolist()
    np.testing.assert_allclose(found["size"], table["size (predicted)"], rtol=1e-4)
    rejected = json.loads((to.parent / "sizes.csv.rejected.jsonl").read_text())
    assert rejected == {"row": 60, "reason": "unparsable", "smiles": "C1CC"}


def finetune_on(cli, encoder, tmp_path, smiles, targets, *options):
    pd.DataFrame({"smiles": smiles, "y": targets}).to_csv(tmp_path / "table.csv", index=False)
    named = ["--model", encoder, "--data", tmp_path / "table.csv", "--column", "smiles", "--target", "y"]
    return cli("finetune", "molecule", *named, "--workdir", tmp_path / "work", *SETTINGS, *options)


def test_molecules_without_a_ring_are_split_at_random(cli, encoder, tmp_path):
    chains, targets = ["C" * (1 + row) + "O" for row in range(60)], range(60)
    result = finetune_on(cli, encoder, tmp_path, chains, targets)
    assert result.status == 1
    assert "Received: none in train. Use more data, another --split or another finetune.seed." in result.output
    result = finetune_on(cli, encoder, tmp_path, chains, targets, "--split", "random")
    assert result.status == 0, result.output
    facts = json.loads((tmp_path / "work" / "metrics.json").read_text())
    assert (facts["split"], facts["records"]) == ("random", {"train": 48, "validation": 6, "test": 6})
    assert np.isfinite(list(facts["metrics"].values())).all()


def test_what_is_not_finite_is_an_error_and_nothing_is_saved(cli, encoder, tmp_path):
    rings = [f"C1{'C' * (2 + i)}1{'N' * (i % 2)}" for i in range(60)]
    result = finetune_on(cli, encoder, tmp_path, rings, [1e30 * i for i in range(60)])
    assert result.status == 1
    assert "a finite mean and deviation in 32 bits" in result.output
    result = finetune_on(cli, encoder, tmp_path, rings, range(60), "--set=finetune.learning_rate=2e9")
    assert result.status == 1
    assert "must be finite" in result.output
    assert result.output.count("error: ") == 1
    for name in ("predictor", "metrics.json", "predictions.csv"):
        assert not (tmp_path / "work" / name).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "weight"], "and weight missing"),
        (["--target", "size", "--task", "classification"], "must be 0 or 1"),
        (["--target", "size", "--set", "finetune.epoch=3"], "unknown setting finetune.epoch. Use one of: seed, epochs"),
        (["--target", "size", "--split", "date"], "--split must be one of balanced, deterministic, random. "),
        (["--target", "size", "--set", "finetune.epochs=0"], "finetune.epochs must be at least 1. Received: 0"),
        (["--target", "size", "--target", "row"], "be none of row, part, text and"),
        (["--target", "text"], "of these names. Received: 'text'. Rename"),
        (["--target", "part"], "of these names. Received: 'part'. Rename"),
        (["--target", "y", "--target", "y (predicted)"], "of these names. Received: 'y (predicted)'. Rename"),
        (["--target", "size", "--target", "size"], "each --target must be given once"),
    ],
    ids=["column", "task", "key", "split", "value", "row", "text", "part", "predicted", "twice"],
)
def test_a_mistake_is_one_message(cli, encoder, data, tmp_path, options, message):
    named = ["--model", encoder, "--data", data, "--column", "smiles", "--workdir", tmp_path / "work"]
    result = cli("finetune", "molecule", *named, *options)
    assert result.status == 1
    assert result.output.count("error: ") == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_directory_without_an_encoder(cli, data, tmp_path):
    named = ["--model", tmp_path, "--data", data, "--column", "smiles", "--target", "size", "--workdir", tmp_path]
    result = cli("finetune", "molecule", *named)
    assert result.status == 1
    assert "an encoder must have config.json" in result.output
