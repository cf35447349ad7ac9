"""The import rules of the house, checked on the syntax tree: nothing is imported to check them."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import recsys_ssl

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for top in ("recsys_ssl", "pipelines") for path in ROOT.glob(f"{top}/**/*.py")
)

# The ground that all packages stand on; each module may import those before it.
GROUND = (
    "kinds",
    "yaml_text",
    "spec_features",
    "spec_records",
    "spec_log",
    "spec",
    "spec_files",
    "lists",
    "file_kinds",
    "text",
    "pages",
    "artifacts",
    "provenance",
    "examples",
    "pairs",
    "seeds",
    "settings",
    "optimizers",
    "loop",
    "ials",
)
# What the package itself loads, before any library.
BEFORE_ALL = ("processor",)
# What the packages of recsys_ssl may import of those before them, besides the ground: a package, or one module of it.
SIBLINGS = {
    "diffraction": (),
    "datasets": ("diffraction",),
    "evaluation": (),
    "index": (),
    "tuning": (),
    "encoders": ("evaluation.prediction", "tuning.space"),
    "logs": (),
    "guessing": ("logs",),
    "features": (),
    "models": ("features", "encoders"),
    "training": ("features", "models", "encoders", "evaluation", "tuning.space"),
    "baselines": ("evaluation", "encoders.molecule"),
    "serving": ("index",),
}

# The same of pipelines: what a stage or a component imports is in its cache key.
PIPELINE_SIBLINGS = {
    "stages": ("progress",),
    "components": ("stages", "properties", "trainings"),
    "commands": (
        *("checkpoints", "config", "console", "leftovers", "locks", "manifests", "progress", "runner", "stages"),
        *("trainings", "workdir"),
    ),
}
# The only places where modules are imported by a name made at run time, which a cache key has to be told of: kinds of
# content, and the names that users find in the package itself, which nothing of the project imports.
IMPORTS_BY_NAME = ("recsys_ssl/kinds.py", "recsys_ssl/__init__.py")

# Heavy library -> the files and folders that may import it.
IMPORTERS = {
    "apache_beam": (
        "recsys_ssl/logs/",
        "recsys_ssl/features/preprocessing.py",
        "recsys_ssl/features/correlations.py",
        "recsys_ssl/index/embed.py",
        "pipelines/",
    ),
    "tfx": ("pipelines/components/", "pipelines/retrieval.py", "pipelines/tuning.py", "pipelines/runner.py"),
    "tensorflow_transform": ("recsys_ssl/features/preprocessing.py",),
    "scann": ("recsys_ssl/index/", "recsys_ssl/serving/"),
    "fastapi": ("recsys_ssl/serving/",),
    "starlette": ("recsys_ssl/serving/",),
    "uvicorn": ("recsys_ssl/serving/",),
    "grpc": ("recsys_ssl/serving/",),
    "rdkit": ("recsys_ssl/encoders/molecule/", "recsys_ssl/datasets/compounds.py", "recsys_ssl/baselines/"),
    "PIL": ("recsys_ssl/encoders/image/pixels.py",),
    "implicit": ("recsys_ssl/baselines/",),
    "umap": ("recsys_ssl/evaluation/cluster_map.py",),
    "torch": ("recsys_ssl/baselines/lightgcn_worker.py", "recsys_ssl/baselines/sasrec_worker.py"),
    "optuna": ("recsys_ssl/tuning/",),
    "rectools": ("recsys_ssl/baselines/sasrec_worker.py",),
    "recbole": ("recsys_ssl/baselines/lightgcn_worker.py",),
    "numba": ("recsys_ssl/diffraction/",),
    "h5py": ("recsys_ssl/diffraction/",),
    "mrcfile": ("recsys_ssl/diffraction/",),
    "tensorflow_recommenders": (),
}
_HEAVY = ("tensorflow", "tf_keras", "apache_beam", "tfx_bsl", "tensorflow_metadata")
FORBIDDEN = {"recsys_ssl/evaluation/": _HEAVY, "recsys_ssl/diffraction/": _HEAVY, "recsys_ssl/lists.py": _HEAVY}
KERAS = "the only Keras is `import tf_keras as keras`"


def imported(tree, path):
    """The dotted names that a file imports, `from a import b` as a.b, relative imports resolved."""
    package = path.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def find_violations(path, source):
    """What a file at `path` (relative to the root, posix) imports against the rules."""
    tree = ast.parse(source)
    found = []
    for name in sorted(set(imported(tree, path))):
        top, *rest = name.split(".")
        if top in IMPORTERS and not path.startswith(IMPORTERS[top]):
            found.append(f"only {', '.join(IMPORTERS[top])} may import {top}")
        for folder, libraries in FORBIDDEN.items():
            if path.startswith(folder) and top in libraries:
                found.append(f"{folder} may not import {top}")
        if path.startswith("recsys_ssl/") and top in ("pipelines", "tests", "benchmarks"):
            found.append(f"recsys_ssl may not import {top}")
        if path.startswith("pipelines/") and top in ("tests", "benchmarks"):
            found.append(f"pipelines may not import {top}")
        if top == "pipelines" and rest and not is_allowed_in_pipelines(path, rest):
            found.append(f"{path} may not import {name}")
        by_name = name == "runpy" or (top == "importlib" and rest != ["metadata"])
        if by_name and path not in IMPORTS_BY_NAME:
            found.append(f"only {', '.join(IMPORTS_BY_NAME)} may import modules by name")
        if top == "recsys_ssl" and len(rest) == 1 and rest[0] in recsys_ssl.__all__:
            found.append(f"{path} must import {rest[0]} from its own module")
        if path.startswith("recsys_ssl/") and top == "recsys_ssl" and rest:
            package = path.split("/")[1]
            own = module_of(path).removeprefix("recsys_ssl.")
            if own in GROUND:
                allowed = GROUND[: GROUND.index(own)]
            elif package in SIBLINGS:
                allowed = (*SIBLINGS[package], *GROUND, package)
            else:
                allowed = BEFORE_ALL if path == "recsys_ssl/__init__.py" else ()
            inner = ".".join(rest)
            if inner != "__version__" and not any(f"{inner}.".startswith(f"{part}.") for part in allowed):
                found.append(f"{path} may not import recsys_ssl.{inner}")
    return found + list(find_other_keras(tree))


def is_allowed_in_pipelines(path, rest):
    package = path.split("/")[1]
    if package in PIPELINE_SIBLINGS:
        return rest[0] in (package, *PIPELINE_SIBLINGS[package])
    return rest[0] != "commands"


def module_of(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def find_circle(sources):
    """Modules that import each other at top level, [] where there are none; sources: path -> text."""
    modules = {module_of(path) for path in sources}
    graph = {}
    for path, source in sources.items():
        tree = ast.parse(source)
        tree.body = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        names = set(imported(tree, path))
        # `from a import b` is the module a.b, or what module a holds.
        names = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module_of(path)] = names & modules
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def find_other_keras(tree):
    other_module = re.compile(r"(keras|tf_keras|tensorflow\.keras)(\.|$)")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if (alias.name, alias.asname) != ("tf_keras", "keras")]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "tf.keras":
            names = ["tensorflow.keras"]
        else:
            names = []
        yield from (KERAS for name in names if other_module.match(name))


def test_there_are_sources():
    assert {"recsys_ssl/__init__.py", "recsys_ssl/spec.py", "recsys_ssl/examples.py"} <= set(SOURCES)


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_keeps_the_import_rules(path):
    assert find_violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.endswith("/__init__.py") and path.count("/") > 1])
def test_a_package_says_what_goes_in_and_out_and_nothing_else(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert len(tree.body) == 1
    docstring = ast.get_docstring(tree)
    assert docstring.startswith("IN ")
    assert "OUT " in docstring


def test_no_modules_import_each_other_in_a_circle():
    assert find_circle({path: (ROOT / path).read_text(encoding="utf-8") for path in SOURCES}) == []


def test_the_rules_let_no_packages_import_each_other_in_a_circle():
    for siblings in (SIBLINGS, PIPELINE_SIBLINGS):
        graph = {package: {part.split(".")[0] for part in parts} for package, parts in siblings.items()}
        assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(siblings)


def test_every_package_has_its_rule():
    packages = {path.split("/")[1] for path in SOURCES if path.startswith("recsys_ssl/") and path.count("/") > 1}
    assert packages <= set(SIBLINGS)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("recsys_ssl/features/schema.py", "from recsys_ssl.models import towers"),
        ("recsys_ssl/features/schema.py", "from recsys_ssl import models"),
        ("recsys_ssl/features/schema.py", "from ..models import towers"),
        ("recsys_ssl/features/schema.py", "def f():\n    import recsys_ssl.logs.transforms"),
        ("recsys_ssl/logs/records.py", "from recsys_ssl.encoders.molecule.smiles import featurise"),
        ("recsys_ssl/encoders/molecule/column.py", "from recsys_ssl.features import batch"),
        ("recsys_ssl/models/losses.py", "from recsys_ssl.training import config"),
        ("recsys_ssl/index/search.py", "from recsys_ssl.evaluation.metrics import recall"),
        ("pipelines/commands/serve.py", "from fastapi import FastAPI"),
        ("recsys_ssl/spec.py", "import recsys_ssl.logs"),
        ("recsys_ssl/spec.py", "from recsys_ssl import examples"),
        ("recsys_ssl/spec.py", "from recsys_ssl.spec_files import load_spec"),
        ("recsys_ssl/lists.py", "from recsys_ssl import examples"),
        ("recsys_ssl/lists.py", "import tensorflow as tf"),
        ("recsys_ssl/artifacts.py", "from recsys_ssl.examples import split_dir"),
        ("recsys_ssl/__init__.py", "from recsys_ssl import lists"),
        ("recsys_ssl/kinds.py", "from recsys_ssl.spec import FeatureSpec"),
        ("recsys_ssl/kinds.py", "from recsys_ssl.encoders import contract"),
        ("recsys_ssl/features/batch.py", "from recsys_ssl.encoders import contract"),
        ("pipelines/api.py", "from recsys_ssl import load_spec"),
        ("recsys_ssl/logs/transforms.py", "import pipelines.commands.app"),
        ("recsys_ssl/logs/transforms.py", "from tests import helpers"),
        ("pipelines/commands/app.py", "from benchmarks.claims import record"),
        ("pipelines/commands/app.py", "def f():\n    from tfx.orchestration import metadata"),
        ("pipelines/commands/app.py", "def f():\n    from pipelines.components.train import TrainTowers"),
        ("pipelines/stages/train.py", "from tfx.types import standard_artifacts"),
        ("pipelines/stages/train.py", "from pipelines.components import artifacts"),
        ("pipelines/stages/train.py", "from pipelines.stages.train import train_arm\nfrom ..config import RunConfig"),
        ("pipelines/components/train.py", "def f():\n    from pipelines.config import RunConfig"),
        ("pipelines/runner.py", "from pipelines.commands.app import app"),
        ("recsys_ssl/logs/records.py", "def f():\n    import importlib"),
        ("pipelines/stages/train.py", "from importlib import import_module"),
        ("recsys_ssl/models/losses.py", "import apache_beam as beam"),
        ("recsys_ssl/encoders/image/column.py", "from PIL import Image"),
        ("recsys_ssl/training/train.py", "from tfx.v1 import dsl"),
        ("recsys_ssl/training/space.py", "from recsys_ssl.tuning.study import Study"),
        ("recsys_ssl/training/train.py", "import optuna"),
        ("pipelines/stages/tune.py", "from optuna.trial import Trial"),
        ("recsys_ssl/features/schema.py", "import tensorflow_transform as tft"),
        ("pipelines/retrieval.py", "import tensorflow_transform as tft"),
        ("pipelines/retrieval.py", "import scann"),
        ("recsys_ssl/models/losses.py", "import tensorflow_recommenders as tfrs"),
        ("recsys_ssl/evaluation/metrics.py", "import tensorflow as tf"),
        ("recsys_ssl/evaluation/metrics.py", "from apache_beam import Map"),
        ("recsys_ssl/evaluation/clustering.py", "def f():\n    from umap import UMAP"),
        ("recsys_ssl/diffraction/emc.py", "import tensorflow as tf"),
        ("recsys_ssl/diffraction/emc.py", "from recsys_ssl import seeds, encoders"),
        ("recsys_ssl/models/towers.py", "import numba"),
        ("recsys_ssl/models/towers.py", "import keras"),
        ("recsys_ssl/models/towers.py", "import tf_keras"),
        ("recsys_ssl/models/towers.py", "from tf_keras import layers"),
        ("recsys_ssl/models/towers.py", "from tensorflow import keras"),
        ("recsys_ssl/models/towers.py", "import tensorflow.keras.layers"),
        ("recsys_ssl/models/towers.py", "import tensorflow as tf\ntf.keras.layers.Dense(1)"),
    ],
)
def test_the_check_finds_a_breach(path, source):
    assert find_violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("recsys_ssl/features/schema.py", "from recsys_ssl.spec import FeatureSpec\nfrom recsys_ssl import examples"),
        ("recsys_ssl/features/schema.py", "from recsys_ssl.features import preprocessing\nfrom . import masking"),
        ("recsys_ssl/models/towers.py", "import tf_keras as keras\nfrom recsys_ssl.features import schema"),
        ("recsys_ssl/training/train.py", "from recsys_ssl.evaluation.metrics import recall\nimport recsys_ssl"),
        ("recsys_ssl/encoders/molecule/column.py", "from recsys_ssl.encoders.molecule.smiles import featurise"),
        ("recsys_ssl/logs/transforms.py", "import apache_beam as beam\nfrom tfx_bsl.coders import example_coder"),
        ("recsys_ssl/index/build.py", "import scann"),
        ("recsys_ssl/diffraction/slices.py", "import numba\nfrom recsys_ssl import artifacts"),
        ("recsys_ssl/kinds.py", "import importlib"),
        ("pipelines/source_code.py", "from importlib import metadata"),
        ("recsys_ssl/spec.py", "from recsys_ssl.kinds import KINDS"),
        ("recsys_ssl/logs/records.py", "from recsys_ssl import kinds"),
        ("pipelines/commands/app.py", "from pipelines.commands import encoders\nfrom pipelines.stages import train"),
        (
            "pipelines/components/train.py",
            "from tfx.types import Artifact\nfrom pipelines.stages.train import train_arm",
        ),
        (
            "pipelines/retrieval.py",
            "from tfx import v1 as tfx\nimport apache_beam\nfrom recsys_ssl import training",
        ),
    ],
)
def test_the_check_lets_through_what_is_allowed(path, source):
    assert find_violations(path, source) == []


@pytest.mark.parametrize(
    ("sources", "circle"),
    [
        ({"a/b.py": "from a import c", "a/c.py": "import a.d", "a/d.py": "from .b import f"}, ["a.b", "a.c", "a.d"]),
        ({"a/b.py": "if x:\n    import a.c", "a/c.py": "try:\n    from a.b import f\nexcept: pass"}, ["a.b", "a.c"]),
        ({"a/__init__.py": "from a import b", "a/b.py": "import a"}, ["a", "a.b"]),
        ({"a/b.py": "from a import c", "a/c.py": "def f():\n    import a.b"}, []),
        ({"a/b.py": "from a import c, d", "a/c.py": "import a.d", "a/d.py": "import numpy"}, []),
    ],
)
def test_a_circle_is_found(sources, circle):
    assert sorted(set(find_circle(sources))) == circle
