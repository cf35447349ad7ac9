"""Which stage makes which parts of a working directory, and whether the parts fit the command that reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines.progress import PROGRESS
from pipelines.source_code import source_hash
from pipelines.trainings import ARMS, name_training, parse_training
from recsys_ssl import artifacts, kinds, provenance
from recsys_ssl.provenance import Manifest
from recsys_ssl.spec import FeatureSpec

At = Callable[..., str]
"""Names a part of the working directory: at("treatment", "towers")."""


class Stage(NamedTuple):
    """A single command: what it reads and makes below the working directory."""

    command: str
    section: str
    """Of the settings that it reads, see `config.RunConfig`."""
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    modules: tuple[str, ...]
    """What its work begins at."""
    parts: tuple[str, ...] = ()
    """Of kinds of content: what it loads by name."""
    number: int = 1
    """Of the training of an arm: its seed is that of the settings and `number - 1`."""

    def code(self, spec: FeatureSpec) -> str:
        """A hash of all sources that decide what it makes."""
        return source_hash(*self.modules, *kinds.sources(spec.content_kinds, *self.parts))


_MODELS = "recommender", "recommender-inverted-lists", "recommender-brute-force"
INGEST = Stage(
    "ingest", "ingest", (), ("interactions", "catalogue", "rejected"), ("pipelines.stages.ingest",), ("column",)
)
TRANSFORM = Stage(
    "transform",
    "",
    ("interactions", "catalogue"),
    ("query-transform", "item-transform", "encoded-interactions", "encoded-catalogue"),
    ("pipelines.stages.transform",),
)
CORRELATE = Stage("correlate", "", ("encoded-catalogue",), ("correlations",), ("pipelines.stages.correlate",))
TRAIN = {
    arm: Stage(
        f"train --arm {arm}",
        "train" if arm == "treatment" else "control",
        # And correlations, where the settings ask for them.
        TRANSFORM.makes,
        (f"{arm}/towers",),
        ("pipelines.stages.train",),
        ("encoder", "settings"),
    )
    for arm in ARMS
}
INDEX = {
    arm: Stage(
        f"index --arm {arm}",
        "index",
        ("interactions", "catalogue", f"{arm}/towers"),
        tuple(f"{arm}/{name}" for name in (*("items", "queries", "index"), *_MODELS)),
        ("pipelines.stages.embed", "pipelines.stages.index", "pipelines.stages.check_serving"),
    )
    for arm in ARMS
}
EVALUATE = Stage(
    "evaluate",
    "evaluation",
    (
        *("interactions", "catalogue", "control/items", "control/queries"),
        *("treatment/items", "treatment/queries", "treatment/index"),
    ),
    ("report",),
    ("pipelines.stages.evaluate",),
)
STAGES = (INGEST, TRANSFORM, CORRELATE, *TRAIN.values(), *INDEX.values(), EVALUATE)
TUNED = "tuned"
"""The part of an arm that a search makes."""
_MAKERS = {name: stage for stage in STAGES for name in stage.makes}
_ORDER = list(_MAKERS)
_EMBEDDED = ("items", "queries")
_OF_REPORTS = ("evaluation.group_by ", "evaluation.slices ", "evaluation.cluster_by ")
"""What of a spec no recommendation depends on. What queries saw is written at ingestion, as the masks say."""


def training_stage(name: str) -> Stage:
    """The stage that trains an arm, once more with a further seed when the name has a number."""
    arm, number = parse_training(name)
    if number == 1:
        return TRAIN[arm]
    return TRAIN[arm]._replace(command=f"train --arm {name}", makes=(f"{name}/towers",), number=number)


def index_stage(name: str) -> Stage:
    """The stage that embeds with a training of an arm, and builds an index of the first one's items."""
    arm, number = parse_training(name)
    if number == 1:
        return INDEX[arm]
    return INDEX[arm]._replace(
        command=f"index --arm {name}",
        reads=("interactions", "catalogue", f"{name}/towers"),
        makes=tuple(f"{name}/{part}" for part in _EMBEDDED),
        modules=INDEX[arm].modules[:1],
        number=number,
    )


def tuning_stage(arm: str) -> Stage:
    """The stage that searches the settings of an arm; nothing reads what it makes but people."""
    training = TRAIN[arm]
    return training._replace(command=f"tune --arm {arm}", makes=(f"{arm}/{TUNED}",), modules=("pipelines.stages.tune",))


def finetuning_code(kind: str) -> str:
    """A hash of all sources that decide what a search of the settings of a kind's fine-tuning finds."""
    return source_hash("pipelines.stages.tune_finetune", *kinds.sources([kind], "predict", "settings", "encoder"))


def evaluation_stage(seeds: int) -> Stage:
    """The stage that compares the arms, each of `seeds` trainings."""
    further = [name_training(arm, number) for arm in ARMS for number in range(2, seeds + 1)]
    return EVALUATE._replace(reads=(*EVALUATE.reads, *(f"{name}/{part}" for name in further for part in _EMBEDDED)))


def _find_maker(part: str) -> Stage | None:
    """The stage that makes a part; None for what is no part, such as the data."""
    if part in _MAKERS or "." not in part:
        return _MAKERS.get(part)
    makers = (training_stage, index_stage)
    stages = [maker(part.rpartition("/")[0]) for maker in makers]
    return next((stage for stage in stages if part in stage.makes), None)


def _maker_of(part: str) -> Stage:
    maker = _find_maker(part)
    if maker is None:
        raise KeyError(part)
    return maker


def _place_of(part: str) -> tuple[int, int]:
    """The place of a part in the order of the stages; further seeds come after the first."""
    maker = _maker_of(part)
    first = part if maker.number == 1 else f"{parse_training(part.partition('/')[0])[0]}/{part.rpartition('/')[2]}"
    return _ORDER.index(first), maker.number


@contextlib.contextmanager
def making(
    stage: Stage,
    at: At,
    spec: FeatureSpec,
    settings: Any,
    given: Mapping[str, Mapping[str, Any]] = {},
    facts: Mapping[str, str] = {},
    shown_after: tuple[type[Exception], ...] = (),
) -> Iterator[list[str]]:
    """Yields empty directories, one for each part that a stage makes; they get their names at the end, signed.

    After an error the parts are those of before. After a kill they are too, but outdated: no command reads them any
    more, since whoever began to make them again wants others.

    Args:
        settings: what the stage reads of them, a dataclass or a dict.
        given: section -> the settings that the user named, see `config.given_settings`.
        facts: digests of what it reads from elsewhere.
        shown_after: errors after which the parts get their names all the same, unsigned, since people look there for
            the cause, if anything was written.

    Raises:
        FileNotFoundError, ValueError: see `check`.
    """
    check(stage, at, spec, given)
    inputs = {name: at(name) for name in stage.reads}
    manifest = provenance.derive_manifest(stage.command, spec.to_json(), settings, stage.code(spec), inputs)
    manifest = dataclasses.replace(manifest, inputs={**manifest.inputs, **facts})
    places = [at(name) for name in stage.makes]
    outdated = provenance.outdate(*places)
    with contextlib.ExitStack() as stack:
        failure = None
        try:
            unfinished = [str(stack.enter_context(artifacts.whole_directory(place))) for place in places]
            yield unfinished
            manifest.write(*(directory for directory in unfinished if os.listdir(directory)))
        except shown_after as error:
            if not any(os.listdir(directory) for directory in unfinished):  # there is nothing to look at
                provenance.restore(*outdated)
                raise
            failure = error
        except Exception:
            provenance.restore(*outdated)
            raise
    if failure is not None:
        raise failure


def is_current(stage: Stage, at: At, spec: FeatureSpec, settings: Any, facts: Mapping[str, str] = {}) -> bool:
    """Whether `making` with the same arguments would make again what is there, whole."""
    inputs = {name: at(name) for name in stage.reads}
    manifest = provenance.derive_manifest(stage.command, spec.to_json(), settings, stage.code(spec), inputs)
    wanted = dataclasses.replace(manifest, inputs={**manifest.inputs, **facts})
    try:
        return all(provenance.read_whole(at(name)).digest == wanted.digest for name in stage.makes)
    except (FileNotFoundError, ValueError):
        return False


def check(stage: Stage, at: At, spec: FeatureSpec, given: Mapping[str, Mapping[str, Any]] = {}) -> None:
    """Holds what a stage reads, and what that was made of, against the spec, the settings given and each other.

    Raises:
        FileNotFoundError: a part that it reads is not there, or not finished.
        DamagedError: a file of such a part is missing, or has another size than when it was made.
        ValueError: one was made with another spec, with other settings than those given, or from other parts than
            those that are there now. The first of them in the order of the stages is named.
    """
    present = {}
    for name in stage.reads:
        try:
            present[name] = provenance.read_whole(at(name))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"`recsys-ssl {stage.command}` needs {name}, finished. There is none in {at()}. "
                f"Run `recsys-ssl {_maker_of(name).command}` first."
            ) from None
    made_of = {name for manifest in present.values() for name in manifest.inputs if _find_maker(name)}
    for name in made_of - set(present):
        with contextlib.suppress(FileNotFoundError):
            present[name] = provenance.read_manifest(at(name))
    outdated = {name for name in made_of - set(present) if os.path.isdir(at(name))}
    for name in sorted({*present, *outdated}, key=_place_of):
        again = f"Run `recsys-ssl {_maker_of(name).command}` again"
        if name in outdated:
            raise ValueError(f"{at(name)} must be whole. The command that makes it was not finished. {again}.")
        _check_part(name, present, at, spec, given, again)
    for maker in dict.fromkeys(_maker_of(name) for name in sorted(present, key=_place_of)):
        if any(present[name].code != maker.code(spec) for name in maker.makes if name in present):
            PROGRESS.warning(f"what `recsys-ssl {maker.command}` made is of another version of the code")


def _check_part(
    name: str,
    present: Mapping[str, Manifest],
    at: At,
    spec: FeatureSpec,
    given: Mapping[str, Mapping[str, Any]],
    again: str,
) -> None:
    manifest, maker = present[name], _maker_of(name)
    if manifest.stage != maker.command:
        raise ValueError(
            f"{at(name)} must be made by `recsys-ssl {maker.command}`. Received: an output of "
            f"`recsys-ssl {manifest.stage}`. {again}."
        )
    if changed := _spec_differences(manifest.spec, spec):
        raise ValueError(f"{at(name)} was made with another spec: {_list(changed)}. {again}, or use that spec.")
    wanted = json.loads(json.dumps(given.get(maker.section, {})))
    if "seed" in wanted:
        wanted["seed"] += maker.number - 1
    if changed := _differences(_pick(manifest.settings, wanted), wanted, f"{maker.section}."):
        raise ValueError(
            f"{at(name)} was made with other settings than those given: {_list(changed)}. {again} with them, or leave "
            "them out here."
        )
    stale = [other for other, digest in manifest.inputs.items() if other in present and present[other].digest != digest]
    if stale:
        raise ValueError(f"{at(name)} was made from other {' and '.join(stale)} than there are now. {again}.")
    for sibling in maker.makes:
        if sibling in present and present[sibling].digest != manifest.digest:
            raise ValueError(f"{at(name)} and {at(sibling)} are of different runs of one command. {again}.")


def check_places(spec: FeatureSpec, recommender_dir: str, interactions_dir: str, catalogue_dir: str) -> None:
    """Holds a recommender and the log that it is asked about against the spec and each other.

    Raises:
        ValueError: one is damaged or outdated, they were made with another spec, what only reports read apart, or the
            log is not the one that it learnt.
    """
    found = {}
    for name, directory in (
        *(("interactions", interactions_dir), ("catalogue", catalogue_dir)),
        ("recommender", recommender_dir),
    ):
        if (manifest := _read_present(directory)) is None:
            continue  # of an earlier version
        found[name] = manifest
        changed = _spec_differences(manifest.spec, spec)
        changed = [change for change in changed if not change.startswith(_OF_REPORTS)]
        if changed:
            raise ValueError(
                f"{directory} was made with another spec: {_list(changed)}. Use that spec, or run the stages again."
            )
    if "recommender" in found:
        learnt = found["recommender"].inputs
        for name in ("interactions", "catalogue"):
            if name in learnt and (name not in found or found[name].digest != learnt[name]):
                raise ValueError(
                    f"the recommender was made from other {name} than there are now. Run the later stages again."
                )


def _read_present(directory: str) -> Manifest | None:
    """The manifest of a part; None where it has none.

    Raises:
        ValueError: the part is damaged or outdated.
    """
    try:
        return provenance.read_whole(directory)
    except FileNotFoundError:
        path = os.path.join(directory, artifacts.OUTDATED_FILE)
        if not os.path.exists(path):
            return None
        maker = artifacts.from_json(Manifest, artifacts.read_text(path)).stage
        raise ValueError(
            f"{directory} must be whole. The command that makes it was not finished. Run `recsys-ssl {maker}` again."
        ) from None


def _spec_differences(before: Mapping[str, Any], spec: FeatureSpec) -> list[str]:
    """What a spec of a manifest differs in from the one that is given; what only describes it does not count."""
    now = json.loads(spec.to_json())
    return _differences({**before, "description": None}, {**now, "description": None})


def _differences(before: Any, now: Any, prefix: str = "") -> list[str]:
    """What two nested dicts differ in, as `name value before there, value now here`."""
    before, now = _by_name(before), _by_name(now)
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [] if before == now else [f"{prefix.rstrip('.')} {_short(before)} there, {_short(now)} here"]
    names = dict.fromkeys([*before, *now])
    return [text for name in names for text in _differences(before.get(name), now.get(name), f"{prefix}{name}.")]


def _by_name(value: Any) -> Any:
    """Lists of features as dicts."""
    named = isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value)
    return {each["name"]: each for each in value} if named else value


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _list(changes: list[str]) -> str:
    return "; ".join([*changes[:3], *([f"and {len(changes) - 3} more"] if len(changes) > 3 else [])])


def _pick(settings: Any, wanted: Any) -> Any:
    """The part of nested settings whose names are in `wanted`."""
    if not isinstance(wanted, dict) or not isinstance(settings, dict):
        return settings
    return {name: _pick(settings.get(name), value) for name, value in wanted.items()}
