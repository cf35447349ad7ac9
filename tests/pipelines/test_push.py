"""Pushed versions: whole, numbered upwards whatever the clock says, and of limited number."""

import pytest
from tfx.types import standard_artifacts

from pipelines.components.push import Pusher
from pipelines.config import parse_overrides
from pipelines.stages import push
from pipelines.stages.push import PushConfig, list_versions, push_model
from recsys_ssl import artifacts
from recsys_ssl.settings import ConfigError

NOW = 1_800_000_000


@pytest.fixture
def make_model(tmp_path):
    """make_model(text): the directory of a model with this graph, and a file beside it."""

    def make(text):
        model_dir = tmp_path / f"model-{text}"
        artifacts.write_text(model_dir / "saved_model.pb", text)
        artifacts.write_text(model_dir / "assets.extra" / "lookup.sqlite", f"of {text}")
        return model_dir

    return make


def read(versions_dir):
    """Version -> graph and what lies beside it."""
    return {
        version: tuple(
            (versions_dir / str(version) / name).read_text()
            for name in ("saved_model.pb", "assets.extra/lookup.sqlite")
        )
        for version in list_versions(versions_dir)
    }


def test_a_version_is_the_whole_model_under_the_time(make_model, tmp_path):
    target = push_model(make_model("a"), tmp_path / "pushed", 3, NOW)
    assert target == tmp_path / "pushed" / str(NOW)
    assert read(tmp_path / "pushed") == {NOW: ("a", "of a")}


@pytest.mark.parametrize("later", [NOW, NOW - 1, NOW - 10**9, 0], ids=["at once", "a second", "years", "1970"])
def test_the_number_grows_when_the_clock_is_set_back(make_model, tmp_path, later):
    push_model(make_model("a"), tmp_path / "pushed", 3, NOW)
    push_model(make_model("b"), tmp_path / "pushed", 3, later)
    push_model(make_model("c"), tmp_path / "pushed", 3, later)
    assert read(tmp_path / "pushed") == {
        NOW: ("a", "of a"),
        NOW + 1: ("b", "of b"),
        NOW + 2: ("c", "of c"),
    }
    # When the clock is right again it is the time once more.
    push_model(make_model("d"), tmp_path / "pushed", 3, NOW + 60)
    assert list_versions(tmp_path / "pushed") == [NOW + 1, NOW + 2, NOW + 60]


def test_versions_are_ordered_as_numbers(make_model, tmp_path):
    for version in (9, 10, 100):
        push_model(make_model(str(version)), tmp_path / "pushed", 5, version)
    assert list_versions(tmp_path / "pushed") == [9, 10, 100]
    assert push_model(make_model("next"), tmp_path / "pushed", 2, 50).name == "101"
    assert list_versions(tmp_path / "pushed") == [100, 101]


def test_what_is_no_version_is_left_alone(make_model, tmp_path):
    for name in ("notes", "12x", "١٢"):
        (tmp_path / "pushed" / name).mkdir(parents=True)
    (tmp_path / "pushed" / "77").write_text("a file")
    for second in range(4):
        push_model(make_model("a"), tmp_path / "pushed", 2, NOW + second)
    left = {path.name for path in (tmp_path / "pushed").iterdir()}
    assert left == {"notes", "12x", "١٢", "77", str(NOW + 2), str(NOW + 3)}


def test_a_copy_that_fails_leaves_the_versions_as_they_were(make_model, tmp_path, monkeypatch):
    for second in range(2):
        push_model(make_model("a"), tmp_path / "pushed", 2, NOW + second)
    before = read(tmp_path / "pushed")

    def fill_disk(source, target):
        with artifacts.whole_directory(target) as unfinished:
            (unfinished / "saved_model.pb").write_text("half")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(push.artifacts, "copy_dir", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        push_model(make_model("b"), tmp_path / "pushed", 2, NOW + 5)
    assert read(tmp_path / "pushed") == before
    assert len(list((tmp_path / "pushed").iterdir())) == 2


def test_how_many_stay_is_a_setting():
    assert parse_overrides([]).push == PushConfig(keep=3)
    assert parse_overrides(["push.keep=10"]).push.keep == 10
    with pytest.raises(ConfigError, match=r"^push: keep must be at least 2, .* Received: keep=1\.$"):
        parse_overrides(["push.keep=1"])


@pytest.mark.parametrize(("model_blessed", "infra_blessed"), [(1, 1), (0, 1), (1, 0)])
def test_the_component_pushes_what_both_bless(make_model, tmp_path, model_blessed, infra_blessed):
    model = standard_artifacts.Model()
    model.uri = str(tmp_path)
    make_model("a").rename(tmp_path / "Format-Serving")
    blessings = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
    for blessing, is_blessed in zip(blessings, (model_blessed, infra_blessed), strict=True):
        blessing.set_int_custom_property("blessed", is_blessed)
    pushed = standard_artifacts.PushedModel()
    Pusher.EXECUTOR_SPEC.executor_class._FUNCTION(
        model=model,
        model_blessing=blessings[0],
        infra_blessing=blessings[1],
        pushed_model=pushed,
        versions_dir=str(tmp_path / "pushed"),
        keep=2,
    )
    versions = list_versions(tmp_path / "pushed")
    is_pushed = model_blessed == infra_blessed == 1
    assert len(versions) == pushed.get_int_custom_property("pushed") == int(is_pushed)
    if is_pushed:
        assert pushed.get_string_custom_property("pushed_version") == str(versions[0])
        assert pushed.get_string_custom_property("pushed_destination") == str(tmp_path / "pushed" / str(versions[0]))
