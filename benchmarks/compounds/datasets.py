"""The compounds of ChEMBL, encoded once for all arms: an arm reads the columns of its own features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import ROOT
from benchmarks.evidence.datasets import Prepared, encode, make_once
from recsys_ssl.features.encoding import read_encoding, write_encoding
from recsys_ssl.spec import FeatureSpec, IdFeature
from recsys_ssl.spec_files import load_spec
from recsys_ssl.training.train import TrainInputs

WORK = ROOT / "build" / "compounds"
DATA = ROOT / "build" / "data" / "chembl-targets"
ID = "compound"
"""The one feature that says nothing of the structure: rings, substructures and heavy atoms are all read off it."""


def load_whole_spec() -> FeatureSpec:
    """`chembl-compounds.yaml` with the compound's id beside the features that it has."""
    spec = load_spec(ROOT / "feature_specs" / "chembl-compounds.yaml")
    return _with_features(spec, [IdFeature(name=ID, kind="id"), *spec.items.features])


def select_features(spec: FeatureSpec, names: Sequence[str]) -> FeatureSpec:
    """The spec with the item features of these names alone, in its own order.

    Raises:
        ValueError: it has no feature of a name.
    """
    known = [feature.name for feature in spec.items.features]
    if not names or not set(names) <= set(known):
        raise ValueError(f"item features must be some of {', '.join(known)}. Received: {list(names)}. Rename them.")
    return _with_features(spec, [feature for feature in spec.items.features if feature.name in names])


def _with_features(spec: FeatureSpec, features: list) -> FeatureSpec:
    return spec.model_copy(update={"items": spec.items.model_copy(update={"features": features})})


def prepare(data: Path = DATA, work: Path = WORK) -> None:
    """Ingests and transforms the log with all features, unless that was done.

    Args:
        data: directory of `activities.csv` and `compounds.csv`, see `recsys-ssl data chembl-targets`.
        work: receives `data/`.
    """
    make_once(work / "data", lambda to: encode(load_whole_spec(), data, to))


def read_prepared(features: Sequence[str], work: Path = WORK) -> Prepared:
    """What an arm of these item features trains on: the data of all arms, and an encoding that names its features."""
    spec, whole = select_features(load_whole_spec(), features), work / "data"
    names = [feature.name for feature in spec.items.features]
    encoding = work / "encodings" / "+".join(names)

    def keep_features(to: Path) -> None:
        known = {feature.name: feature for feature in read_encoding(str(whole / "item-transform"))}
        write_encoding(str(to), [known[name] for name in names])

    make_once(encoding, keep_features)
    inputs = TrainInputs(
        interactions_dir=str(whole / "encoded-interactions"),
        catalogue_dir=str(whole / "encoded-catalogue"),
        query_transform_dir=str(whole / "query-transform"),
        item_transform_dir=str(encoding),
    )
    return Prepared(spec, inputs)
