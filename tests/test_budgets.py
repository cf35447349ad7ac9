"""What a process may load: a worker, a server and `--help` each have a list of libraries that they do without."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOADED = "import json, sys\nfor name in sys.argv[1:]: __import__(name)\nprint(json.dumps(sorted(sys.modules)))"
# Libraries that take a second or more, or hundreds of megabytes.
HEAVY = {"tensorflow", "tf_keras", "tensorflow_transform", "tfx", "tfx_bsl", "apache_beam", "scann", "sklearn", "rdkit"}


def loaded(*modules):
    """Top-level names that a fresh interpreter has loaded after importing some modules."""
    child = subprocess.run(
        [sys.executable, "-c", LOADED, *modules], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(child.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    ("modules", "needs", "forbidden"),
    [
        (["recsys_ssl"], set(), HEAVY | {"numpy", "pandas", "pyarrow", "pydantic"}),
        (["pipelines.commands.app"], {"typer"}, HEAVY | {"numpy", "pandas", "pyarrow", "matplotlib"}),
        (["recsys_ssl.encoders.molecule.smiles", "recsys_ssl.encoders.molecule.labels"], {"rdkit"}, HEAVY - {"rdkit"}),
        (["recsys_ssl.encoders.molecule.column"], {"rdkit", "pyarrow"}, HEAVY - {"rdkit"}),
        (["recsys_ssl.encoders.image.column", "recsys_ssl.encoders.image.shards"], {"PIL", "pyarrow"}, HEAVY),
        (
            ["recsys_ssl.encoders.molecule.settings", "recsys_ssl.encoders.image.reading", "recsys_ssl.spec"],
            {"pydantic"},
            HEAVY | {"numpy"},
        ),
        (["recsys_ssl.diffraction.workers"], {"numba", "scipy"}, HEAVY | {"pandas", "matplotlib", "h5py"}),
        (
            ["recsys_ssl.models.two_tower", "recsys_ssl.training.step", "recsys_ssl.encoders.molecule.encoder"],
            {"tensorflow"},
            HEAVY - {"tensorflow", "tf_keras", "tfx_bsl"},
        ),
        (
            ["recsys_ssl.serving.recommender"],
            {"tensorflow"},
            HEAVY - {"tensorflow", "tf_keras"} | {"matplotlib"},
        ),
        (
            ["recsys_ssl.serving.server"],
            {"tensorflow", "uvicorn", "fastapi", "grpc"},
            HEAVY - {"tensorflow", "tf_keras"} | {"matplotlib"},
        ),
    ],
    ids=[
        "the package",
        "--help",
        "a featuriser",
        "the reader of ingestion",
        "images",
        "settings",
        "a worker of diffraction",
        "a model",
        "a recommender",
        "a server",
    ],
)
def test_a_process_loads_what_it_needs(modules, needs, forbidden):
    found = loaded(*modules)
    assert found >= needs
    assert sorted(found & forbidden) == []
