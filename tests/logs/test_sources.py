"""Which files a path means."""

import pytest

from recsys_ssl.logs.sources import expand_pattern, find_sources
from recsys_ssl.spec import FeatureSpec


def find(folder, *paths):
    spec = FeatureSpec.model_validate(
        {
            "name": "test",
            "events": {"paths": list(paths), "query_id": "q", "item_id": "i"},
            "items": {"id": "i", "features": [{"name": "i", "kind": "id"}]},
            "queries": {"id": "q", "features": [{"name": "q", "kind": "id"}]},
            "split": {"kind": "random"},
        }
    )
    return [source.name for source in find_sources(spec, str(folder), 10)["events"]]


@pytest.fixture
def folder(tmp_path):
    for name in ("log/0.csv", "log/a/1.csv", "log/a/b/2.csv", "other/3.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("q,i\n1,2\n")
    return tmp_path


def test_two_stars_are_any_number_of_folders_also_none(folder):
    assert find(folder, "log/**/*.csv") == ["log/0.csv", "log/a/1.csv", "log/a/b/2.csv"]
    assert find(folder, "**/*.csv") == ["log/0.csv", "log/a/1.csv", "log/a/b/2.csv", "other/3.csv"]
    assert find(folder, "log/**/b/**/*.csv", "log/*.csv") == ["log/0.csv", "log/a/b/2.csv"]


def test_a_path_without_two_stars_is_itself():
    assert expand_pattern("log/*.csv") == ["log/*.csv"]
    assert sorted(expand_pattern("a/**/b/**/c")) == ["a/**/b/**/c", "a/**/b/c", "a/b/**/c", "a/b/c"]
