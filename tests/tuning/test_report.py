"""The report of a search: what its files hold, and that the page names the winner."""

import json
import re

import pytest

from recsys_ssl.settings import parse
from recsys_ssl.tuning.config import SearchConfig
from recsys_ssl.tuning.report import BEST_FILE, REPORT_PAGE, STUDY_FILE, Header, write_study
from recsys_ssl.tuning.space import Choice, Ladder, LogUniform, Steps, Uniform
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import open_storage

SPACE = {
    "rate": LogUniform(1e-3, 1.0),
    "ssl.weight": Uniform(0.0, 2.0),
    "batch_size": Ladder((128, 256)),
    "layers": Steps(1, 3),
    "towers": Choice(("item", "both")),
}
HEADER = Header("films", "treatment <item_masks>", "validation recall@50", "train", ("train.steps=10",))


def objective(request):
    s = request.settings
    if s["layers"] == 3 and s["towers"] == "both":
        raise ValueError("too <deep>")
    return -((s["ssl.weight"] - 1.2) ** 2) + 0.001 * request.seed


def run(trials, **changes):
    config = SearchConfig(sampler="random", trials=trials, **changes)
    study = Study(open_storage(None), "s", "about", SPACE, config, larger_is_better=True)
    study.search(objective)
    study.rescore(objective)
    return study.read(with_importance=True), config


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tuned")
    found, config = run(40)
    study = write_study(found, HEADER, SPACE, config, directory)
    return found, study, directory


def test_the_lines_are_those_of_the_best_and_can_be_given_back(written):
    found, _, directory = written
    lines = (directory / BEST_FILE).read_text().splitlines()
    assert lines[0] == "train.steps=10"
    values = parse(lines, ["train"])["train"]
    best = found.best.settings
    assert values.pop("steps") == 10
    assert values == {
        "rate": best["rate"],
        "ssl": {"weight": best["ssl.weight"]},
        "batch_size": best["batch_size"],
        "layers": best["layers"],
        "towers": best["towers"],
    }


def test_the_study_holds_every_trial(written):
    found, study, directory = written
    assert json.loads((directory / STUDY_FILE).read_text()) == json.loads(json.dumps(study))
    assert len(study["trials"]) == 40
    assert sum(study["counts"].values()) == 40
    assert study["counts"]["failed"] == sum(trial.state == "failed" for trial in found.trials) > 0
    assert study["best"]["mean"] == pytest.approx(study["best"]["score"] + 0.001 * (1 + 2 + 3) / 3)
    assert study["best_so_far"][-1] == max(trial.score for trial in found.trials if trial.score is not None)
    assert list(study["space"]) == [f"train.{name}" for name in SPACE]


def test_what_decides_is_the_most_important(written):
    found, study, _ = written
    assert sum(found.importance.values()) == pytest.approx(1.0)
    assert max(study["importance"], key=study["importance"].get) == "train.ssl.weight"


def test_the_page_names_the_winner_and_the_failures_and_escapes(written):
    found, study, directory = written
    page = (directory / REPORT_PAGE).read_text()
    assert f"{study['best']['mean']:.4f}" in page
    assert all(line in page for line in study["best"]["lines"])
    assert "treatment &lt;item_masks&gt;" in page
    assert page.count("too &lt;deep&gt;") == study["counts"]["failed"]
    (winner,) = re.findall(r'<tr class="primary"><td>(\d+)</td>', page)
    assert int(winner) == found.best.slot
    assert page.count("data:image/svg+xml") == 4


def test_the_same_study_gives_the_same_page(written, tmp_path):
    _, _, directory = written
    found, config = run(40)
    write_study(found, HEADER, SPACE, config, tmp_path)
    page = (tmp_path / REPORT_PAGE).read_text()
    assert page == (directory / REPORT_PAGE).read_text()


def test_few_trials_have_no_importance_and_without_fresh_seeds_the_search_decides(tmp_path):
    found, config = run(3, fresh_seeds=0)
    study = write_study(found, HEADER, SPACE, config, tmp_path)
    page = (tmp_path / REPORT_PAGE).read_text()
    assert found.importance == {}
    assert "it takes twenty complete trials" in page
    assert "no fresh seeds" in page
    assert study["best"]["score"] == max(trial.score for trial in found.trials if trial.score is not None)


def test_without_a_best_point_nothing_is_written(tmp_path):
    study = Study(open_storage(None), "s", "about", SPACE, SearchConfig(), larger_is_better=True)
    with pytest.raises(ValueError, match="must have a best point"):
        write_study(study.read(), HEADER, SPACE, SearchConfig(), tmp_path)
    assert not list(tmp_path.iterdir())
