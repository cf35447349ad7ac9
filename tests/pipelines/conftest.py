"""What components really import, seen by importing them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_ssl import kinds

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(
    f"pipelines.components.{path.stem}"
    for path in (ROOT / "pipelines" / "components").glob("*.py")
    if path.stem not in ("__init__", "artifacts")
)

# Third-party libraries are imported once; then each module is imported in a fork of its own, which has none of the
# project's modules yet. What stands in functions is imported by Python too, statement by statement.
IMPORT_EACH = """
import ast, importlib, json, multiprocessing, sys
import apache_beam, rdkit.Chem, scann, tensorflow_transform, tf_keras
from tfx.components import ExampleValidator
from tfx.dsl.component.experimental import decorators

OURS = ("recsys_ssl", "pipelines")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)

def loaded():
    return {name for name in sys.modules if name.partition(".")[0] in OURS}

def import_whole(names):
    assert not loaded()
    for name in names.split(","):
        importlib.import_module(name)
    looked_at = set()
    while new := loaded() - looked_at:
        for module in (sys.modules[name] for name in new):
            with open(module.__file__, encoding="utf-8") as file:
                functions = [node for node in ast.walk(ast.parse(file.read())) if isinstance(node, FUNCTIONS)]
            for node in {node for function in functions for node in ast.walk(function) if isinstance(node, IMPORTS)}:
                if any(package in ast.unparse(node) for package in OURS) or getattr(node, "level", 0):
                    exec(compile(ast.Module([node], []), module.__file__, "exec"), dict(vars(module)))
        looked_at |= new
    return sorted(loaded())

with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(import_whole, sys.argv[1:], chunksize=1)))))
"""


# What components that read content load besides, by name: parts of the kinds that the spec has.
PARTS = {
    "pipelines.components.ingest": kinds.sources(["molecule"], "column"),
    "pipelines.components.train": kinds.sources(["molecule"], "encoder", "settings"),
    "pipelines.components.tune": kinds.sources(["molecule"], "encoder", "settings"),
    "recsys_ssl.training.train": kinds.sources(["molecule"], "encoder", "settings"),
}


@pytest.fixture(scope="session")
def loaded_modules():
    """Modules, "a" or "a,b,c", -> the project's modules that they load, now and when their functions run.

    Each component by itself, and those that read content with the parts of a kind, see `PARTS`.
    """
    starts = [*COMPONENTS, "recsys_ssl.training.train", *(",".join([name, *parts]) for name, parts in PARTS.items())]
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *starts],
        cwd=ROOT,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return {name: set(found) for name, found in json.loads(process.stdout.splitlines()[-1]).items()}
