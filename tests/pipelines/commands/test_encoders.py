"""`recsys-ssl pretrain` and `recsys-ssl embed` from files to files, and their errors as one message."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.embed import Embedder
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
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


@pytest.fixture
def encoder_dir(tmp_path):
    config = PretrainConfig(hidden_dim=8, num_heads=2)
    store.save(MoleculeEncoder(config.grover), "molecule", config.grover, tmp_path / "encoder", config)
    return tmp_path / "encoder"


@pytest.fixture
def embed(cli, encoder_dir, tmp_path):
    """Embeds a file of the given content; the result and where the vectors would be."""

    def run(content, *options):
        (tmp_path / "data.csv").write_bytes(content.encode())
        to = tmp_path / "out" / "vectors.parquet"
        result = cli("embed", "molecule", "--model", encoder_dir, "--data", tmp_path / "data.csv", "--to", to, *options)
        return result, to

    return run


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ('"ChEMBL ID";"Name";"Smiles"\n"1";"CC";"CCO"\n"2";"I";"CCN"\n', ()),
        ("drug,smiles\nCCO,C\nCCN,C\n", ("--column", "drug")),
        ("1,CCO\n2,CCN\n", ("--column", "2")),
    ],
    ids=["found", "named", "numbered"],
)
def test_the_column_of_smiles_is_found_or_named(embed, content, options):
    result, to = embed(content, *options)
    assert result.status == 0, result.output
    assert pq.read_table(to)["text"].to_pylist() == ["CCO", "CCN"]


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        ("foo\nbar\n", (), ["2 unparsable of 2, the first 'foo', 'bar'", "rejected.jsonl. Is it the right column?"]),
        ("", (), ["--data must have records. Received: none"]),
        ("\n\n", (), ["2 empty of 2, the first '', ''"]),
        (
            "C\nx\ny\nz\n",
            (),
            ["at most 50% of the records may be rejected", "3 unparsable of 4, the first 'x', 'y', 'z'"],
        ),
        ("C\nC\nx\n", ("--max-rejected-share", "0.3"), ["at most 30% of the records", "1 unparsable of 3"]),
        ("id,smiles\n1,C\n", ("--column", "mol"), ["Received: 'mol'; the first line", "has 'id', 'smiles'"]),
        ("PK\x03\x04", (), ["a ZIP archive that cannot be read"]),
    ],
    ids=["no molecule", "empty", "empty lines", "too many", "share", "no such column", "zip"],
)
def test_too_few_molecules_are_an_error_and_no_vectors_are_left(embed, content, options, parts):
    result, to = embed(content, *options)
    check_error(result, *parts)
    assert not to.exists()


def test_a_run_that_fails_leaves_what_an_earlier_one_made(embed):
    result, to = embed("C\nx\n")
    assert result.status == 0, result.output

    def files():
        return {path.name: path.read_bytes() for path in to.parent.glob(f"{to.name}*")}

    before = files()
    assert before.keys() == {to.name, f"{to.name}.rejected.jsonl"}
    result, _ = embed("C\nx\ny\nz\n")
    check_error(result, "3 unparsable of 4", f"{to.name}.failed.rejected.jsonl")
    failed = files()
    assert [json.loads(line)["row"] for line in failed.pop(f"{to.name}.failed.rejected.jsonl").splitlines()] == [
        1,
        2,
        3,
    ]
    assert failed == before
    embed("C\nx\n")
    assert files() == before


def test_a_share_may_be_rejected(embed):
    result, to = embed("C\nx\ny\nz\n", "--max-rejected-share", "0.75")
    assert result.status == 0, result.output
    assert pq.read_table(to)["text"].to_pylist() == ["C"]
    # All of them are too many for any share.
    check_error(embed("x\n", "--max-rejected-share", "1")[0], "and not all. Received: 1 unparsable of 1")


def test_vectors_that_are_not_finite_are_an_error(embed, encoder_dir):
    with np.load(encoder_dir / "weights.npz") as stored:
        weights = {name: np.full_like(stored[name], np.nan) for name in stored.files}
    np.savez(encoder_dir / "weights.npz", **weights)
    result, to = embed("CCO\nCC\n")
    check_error(result, "vectors must be finite. Received: others among those of rows 0 to 1")
    assert not to.exists()


@pytest.mark.parametrize("command", ["embed", "predict"])
def test_a_directory_in_place_of_a_file_is_told_before_any_work(cli, smiles_file, tmp_path, command):
    result = cli(command, "molecule", "--model", tmp_path / "no", "--data", smiles_file, "--to", tmp_path)
    check_error(result, "--to must be a file. Received: the directory")
    assert "Load TensorFlow" not in result.output


@pytest.mark.parametrize("command", ["embed", "predict"])
def test_the_file_that_is_read_is_not_written_over(cli, smiles_file, tmp_path, command):
    before = smiles_file.read_bytes()
    result = cli(command, "molecule", "--model", tmp_path / "no", "--data", smiles_file, "--to", smiles_file)
    check_error(result, "--to must be another file than --data. Received: ")
    assert smiles_file.read_bytes() == before


def test_pretraining_reads_the_column_that_is_named(cli, tmp_path):
    (tmp_path / "all.csv").write_text(
        "id;smiles;drug\n" + "".join(f"{row};C;{text}\n" for row, text in enumerate(SMILES))
    )
    settings = [f"--set=pretrain.{key}={value}" for key, value in SETTINGS.items()]
    arguments = ["pretrain", "molecule", "--data", tmp_path / "all.csv", "--workdir", tmp_path / "run", *settings]
    result = cli(*arguments, "--column", "drug")
    assert result.status == 0, result.output
    assert "rejected: none" in result.output
    result = cli(*arguments, "--column", "id")
    check_error(result, "40 of 40", "the first '0', '1', '2'", "name the right column by --column")


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
