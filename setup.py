"""Installs recsys_ssl, the pipelines and the command `recsys-ssl`.

Ranges of direct dependencies; `make lock` picks the versions that go together, see docs/operations/platforms.md.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# Loading and asking an exported recommender in plain TensorFlow; feature specs.
BASE = ["numpy>=1.26", "pyarrow>=10", "pydantic>=2", "pyyaml", "tensorflow>=2.16.2,<2.21"]
# What an exported recommender with an approximate index needs: a ScaNN and the TensorFlow that it was built for.
SCANN = ["scann[tf]>=1.3.2,<1.5"]
# `recsys-ssl serve`.
SERVE = [
    *SCANN,
    "fastapi",
    "grpcio",
    "grpcio-health-checking",
    "httptools",
    "orjson",
    "prometheus-client",
    "protobuf",
    "rich",
    "tensorflow-serving-api",
    "typer",
    "uvicorn",
    "uvloop",
]
# Encoders of molecules: pre-training, fine-tuning, embedding.
MOLECULES = ["pandas>=1.5,<3", "rdkit", "scipy", "tf-keras>=2.16,<2.21"]
# Encoders of images: the same.
IMAGES = ["pillow>=10.1", "scikit-learn", "scipy", "tf-keras>=2.16,<2.21"]
# What embeddings know of labels: clusters, probes, maps of them.
CLUSTERING = ["matplotlib", "scikit-learn", "scipy", "umap-learn"]
# Search of settings: random, TPE, CMA-ES.
TUNING = ["cmaes", "matplotlib", "optuna>=4,<5", "sqlalchemy>=1.4"]
# Photon patterns to a 3-D intensity.
DIFFRACTION = ["h5py", "matplotlib", "mrcfile", "numba", "scipy"]
# From logs to the report, and the command line.
PIPELINE = [
    *SCANN,
    "apache-beam>=2.61",
    "dill",  # tfx-bsl imports it, apache-beam brings it only up to 2.61
    "jinja2",
    "matplotlib",
    "pandas>=1.5,<3",
    "protobuf",
    "rich",
    "scipy",
    "tensorboard",
    "tf-keras>=2.16,<2.21",
    "tfx>=1.16,<1.22",
    "typer",
]
# Models without towers, that benchmarks compare with: ItemKNN, BPR; fingerprints of molecules.
BASELINES = ["implicit==0.7.3", "rdkit", "scikit-learn", "scipy", "threadpoolctl"]
DEV = [
    "httpx",
    "hypothesis",
    "mypy",
    "pillow",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "schemathesis",
    "tensorflow-recommenders==0.7.7",  # its retrieval task is the oracle of our loss
]


def read_version() -> str:
    source = (ROOT / "recsys_ssl" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE).group(1)


setup(
    name="recsys_ssl",
    version=read_version(),
    description="Large-scale retrieval recommenders regularised by self-supervision, from logs to an A/B report.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["recsys_ssl", "recsys_ssl.*", "pipelines", "pipelines.*"]),
    package_data={"": ["*.jinja", "*.html"]},
    install_requires=BASE,
    extras_require={
        "serve": SERVE,
        "molecules": MOLECULES,
        "images": IMAGES,
        "clustering": CLUSTERING,
        "diffraction": DIFFRACTION,
        "tuning": TUNING,
        "pipeline": PIPELINE,
        "baselines": BASELINES,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["recsys-ssl = pipelines.commands.entry:main"]},
)
