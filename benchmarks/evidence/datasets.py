"""The logs of the study: split, encoded once by the pipeline's own stages, and thinned to a share.

Everything lies under `build/evidence`; what is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims import ROOT
from benchmarks.evidence.thinning import thin
from pipelines.stages.correlate import correlate_features
from pipelines.stages.ingest import ingest_logs
from pipelines.stages.transform import transform_features
from recsys_ssl import artifacts
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.spec import FeatureSpec, Split
from recsys_ssl.spec_files import load_spec
from recsys_ssl.training.train import TrainInputs

WORK = ROOT / "build" / "evidence"


# What all arms share. The tables of `hidden_layer` and `large_accumulator` show the two that are not the defaults.
_COMMON = {"hidden": (), "initial_accumulator": 1e-5, "schedule": "linear", "patience": 4, "validation_queries": 1500}


@dataclass(frozen=True)
class Dataset:
    """One log and what all arms share on it, chosen on validation with arm `none`.

    Attributes:
        split: in the place of the spec's.
        full: training settings on all positives.
        sparse: training settings on a tenth of them.
    """

    split: Split
    full: Mapping[str, Any]
    sparse: Mapping[str, Any]

    def settings(self, share: float) -> dict[str, Any]:
        return {**_COMMON, **(self.sparse if share < 1.0 else self.full)}


_LINKS = {"feature_dim": 128, "embedding_dim": 128, "temperature": 0.1, "popularity_prior": 0.5}
_PACKAGES = {"feature_dim": 64, "embedding_dim": 64, "temperature": 0.1, "popularity_prior": 1.0}
_USERS = {"feature_dim": 64, "embedding_dim": 64, "batch_size": 512, "unknown_query_rate": 0.3, "popularity_prior": 1.0}
_COMPOUNDS = {
    "feature_dim": 64,
    "embedding_dim": 64,
    "unknown_query_rate": 0.0,
    "temperature": 0.2,
    "popularity_prior": 0.5,
}
_FACTORS = {"start.ids": "factors"}
_HALF = {"ssl.batch_size": 256}  # half a batch, as the other logs have

DATASETS = {
    "wikispeedia": Dataset(
        # 90/10 as published for this graph; validation takes 2% of the links from the 90.
        Split(kind="random", validation=0.02, test=0.1),
        full={
            **_LINKS,
            **_FACTORS,
            "start.alpha": 20.0,
            "start.regularization": 60.0,
            "temperature": 0.14,
            "learning_rate": 0.1,
            "steps": 2000,
            "eval_every": 200,
        },
        sparse={
            **_LINKS,
            "temperature": 0.2,
            "learning_rate": 0.02,
            "batch_size": 512,
            "steps": 150,
            "eval_every": 15,
        },
    ),
    "debian": Dataset(
        Split(kind="random", validation=0.05, test=0.1),
        full={**_PACKAGES, "temperature": 0.06, "learning_rate": 0.1, "steps": 2000, "eval_every": 400},
        sparse={**_PACKAGES, "learning_rate": 0.03, "batch_size": 512, "steps": 300, "eval_every": 50},
    ),
    "chembl-targets": Dataset(
        Split(kind="random", validation=0.05, test=0.1),
        full={**_COMPOUNDS, "temperature": 0.15, "learning_rate": 0.1, "steps": 600, "eval_every": 100},
        sparse={**_COMPOUNDS, "learning_rate": 0.05, "batch_size": 512, "steps": 300, "eval_every": 30},
    ),
    "complete-journey": Dataset(
        Split(kind="time"),
        full={
            **_USERS,
            **_HALF,
            "unknown_query_rate": 0.0,
            "temperature": 0.3,
            "learning_rate": 0.1,
            "steps": 800,
            "eval_every": 100,
        },
        sparse={
            **_USERS,
            "temperature": 0.2,
            "learning_rate": 0.02,
            "batch_size": 256,
            "steps": 100,
            "eval_every": 20,
        },
    ),
    "frappe": Dataset(
        Split(kind="random"),
        full={
            **_USERS,
            **_HALF,
            **_FACTORS,
            "start.alpha": 20.0,
            "popularity_prior": 0.5,
            "temperature": 0.2,
            "learning_rate": 0.01,
            "steps": 400,
            "eval_every": 50,
        },
        sparse={
            **_USERS,
            "temperature": 0.3,
            "learning_rate": 0.003,
            "batch_size": 256,
            "steps": 100,
            "eval_every": 10,
        },
    ),
    "movielens-small": Dataset(
        Split(kind="time"),
        full={
            **_USERS,
            **_HALF,
            **_FACTORS,
            "unknown_query_rate": 0.9,
            "temperature": 0.3,
            "learning_rate": 0.03,
            "steps": 600,
            "eval_every": 75,
        },
        sparse={
            **_USERS,
            "unknown_query_rate": 0.9,
            "temperature": 0.3,
            "learning_rate": 0.03,
            "batch_size": 256,
            "steps": 100,
            "eval_every": 10,
        },
    ),
    "movielens-100k": Dataset(
        Split(kind="time"),
        full={
            **_USERS,
            **_HALF,
            **_FACTORS,
            "popularity_prior": 0.5,
            "temperature": 0.2,
            "learning_rate": 0.03,
            "steps": 600,
            "eval_every": 75,
        },
        sparse={**_USERS, "temperature": 0.2, "learning_rate": 0.03, "steps": 100, "eval_every": 10},
    ),
}

STUDIED = tuple(name for name in DATASETS if name != "movielens-100k")
"""The six logs; on the other one only the start of ids is compared."""
QUERIES_ARE_ITEMS = ("wikispeedia", "debian")
START_AT_FACTORS = tuple(name for name, dataset in DATASETS.items() if dataset.full.get("start.ids") == "factors")
"""Logs where ids start at a factorisation on all data, as validation chose."""
REPEATED = ("complete-journey",)
"""Logs whose held-out items may have been chosen before: nothing seen is masked."""
TIMED = tuple(name for name, dataset in DATASETS.items() if dataset.split.kind == "time")
"""Logs that say what came first."""


@dataclass(frozen=True)
class Prepared:
    """Encoded examples of one split and share, ready for training."""

    spec: FeatureSpec
    inputs: TrainInputs


def prepare(name: str, split_seed: int = 0, share: float = 1.0, seed: int = 0, without: str = "") -> Prepared:
    """Ingests, transforms and correlates a log, then thins its training positives.

    Args:
        name: key of DATASETS; its files must lie in `build/data/NAME` (`recsys-ssl data NAME --to ...`).
        split_seed: seed of a random split.
        share: of the training positives to keep; the held-out events stay as they are.
        seed: draws which ones.
        without: an item feature that is left out, so that towers do not read it; "" for none.
    """
    spec = load_spec(ROOT / "feature_specs" / f"{name}.yaml")
    split = DATASETS[name].split.model_copy(update={"seed": split_seed})
    kept = [feature for feature in spec.item_features if feature.name != without]
    items = spec.items.model_copy(update={"features": kept})
    spec = spec.model_copy(update={"split": split, "items": items})
    whole = WORK / "data" / f"{name}-{split_seed}{f'-without-{without}' if without else ''}"
    make_once(whole, lambda to: _prepare_whole(spec, ROOT / "build" / "data" / name, to))
    if share == 1.0:
        return Prepared(spec, _inputs(whole, whole))
    thinned = whole.with_name(f"{whole.name}-{share:g}-{seed}")
    make_once(thinned, lambda to: thin(whole, to, share, seed, spec))
    return Prepared(spec, _inputs(thinned, whole))


def _prepare_whole(spec: FeatureSpec, data_dir: Path, to: Path) -> None:
    encode(spec, data_dir, to)
    correlate_features(spec, str(to / "encoded-catalogue"), str(to / "correlations"), beam_args=[])


def encode(spec: FeatureSpec, data_dir: Path, to: Path) -> None:
    """Ingests and transforms a log by the pipeline's own stages, into the directories that training reads."""
    interactions, catalogue = str(to / "interactions"), str(to / "catalogue")
    ingest_logs(spec, str(data_dir), interactions, catalogue, str(to / "rejected"), IngestConfig(), [])
    transforms = str(to / "query-transform"), str(to / "item-transform")
    encoded = str(to / "encoded-interactions"), str(to / "encoded-catalogue")
    transform_features(spec, interactions, catalogue, *transforms, *encoded, beam_args=[])


def make_once(directory: Path, make: Callable[[Path], None]) -> None:
    """Calls `make` on a directory that takes its name only when it is whole; the first of two processes wins."""
    if directory.exists():
        return
    with artifacts.whole_directory(directory, keep_older=True) as unfinished:
        make(unfinished)


def _inputs(examples_dir: Path, whole: Path) -> TrainInputs:
    return TrainInputs(
        interactions_dir=str(examples_dir / "encoded-interactions"),
        catalogue_dir=str(examples_dir / "encoded-catalogue"),
        query_transform_dir=str(whole / "query-transform"),
        item_transform_dir=str(whole / "item-transform"),
        correlations_path=str(whole / "correlations" / artifacts.CORRELATIONS_FILE),
    )
