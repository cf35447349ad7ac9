"""The tables of the evidence as Markdown, and its figures."""

import json

import pytest

from benchmarks import claims
from benchmarks.evidence import plots, tables
from benchmarks.evidence.trials import ARMS, RECOMMENDED


@pytest.fixture
def root(tmp_path, found, monkeypatch):
    monkeypatch.setattr(claims, "describe_hardware", lambda: "a CPU, 2 cores, 8 GiB")
    monkeypatch.setattr(claims, "describe_commit", lambda: "0123456789ab")
    tables.write(found, tmp_path / "benchmarks" / "results")
    names = "\n".join(f"<!-- evidence:{name} -->\n<!-- /evidence:{name} -->" for name in tables.RENDERERS)
    (tmp_path / "README.md").write_text("Before.\n<!-- evidence:main -->old<!-- /evidence:main -->\nAfter.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "evidence.md").write_text(f"# Evidence\n\n{names}\n")
    (tmp_path / "docs" / "plain.md").write_text("No table.\n")
    return tmp_path


def test_tables_are_made_from_the_committed_numbers_alone(root, capsys):
    assert tables.main(["--check"], root) == 1
    assert tables.main(["--from-json"], root) == 0
    assert "tables written: README.md, docs/evidence.md" in capsys.readouterr().out
    assert tables.main(["--check"], root) == 0
    readme = (root / "README.md").read_text()
    assert readme.startswith("Before.\n<!-- evidence:main -->\n| Log |")
    assert readme.endswith("<!-- /evidence:main -->\nAfter.\n")
    assert "nan" not in (root / "docs" / "evidence.md").read_text().lower().replace("nance", "")
    assert (root / "docs" / "plain.md").read_text() == "No table.\n"


def test_a_table_shows_the_numbers_with_the_best_in_bold(root):
    numbers = tables.load(root / "benchmarks" / "results")
    text = tables.RENDERERS["full"](numbers)
    mean, half = numbers["cells"]["full"]["frappe"][RECOMMENDED]["recall_at_50"]
    lines = [line for line in text.splitlines() if line.startswith(f"| {ARMS[RECOMMENDED]} |")]
    assert len(lines) == 6  # metrics
    assert f"| **{100 * mean:.2f} ± {100 * half:.2f}** |" in lines[0]
    popular = numbers["cells"]["full"]["frappe"]["popular"]["recall_at_50"][0]
    assert f"| {ARMS['popular']} | {100 * popular:.2f} |" in text
    assert ARMS["ials"] not in text  # no data set has it


def test_a_gap_is_explained_and_a_data_set_without_any_proposal_is_left_out(study):
    study.add("frappe", "none")
    study.add("movielens-small", "none")
    study.add("movielens-small", "logq_none")
    found = study.summarise()
    full, proposals = (tables.RENDERERS[name](found) for name in ("full", "proposals"))
    assert "–: not run." in full
    assert "| Frappe |" in full
    assert "| MovieLens small | all |" in proposals
    assert "| Frappe |" not in proposals


def test_the_headline_shows_gain_and_lead(found):
    lines = tables.RENDERERS["headline"](found).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| Frappe", "| MovieLens small"]
    cells, best = found["cells"]["full"]["frappe"], found["best"]["full"]["frappe"]
    none, ours, popular = (100 * cells[arm]["recall_at_50"][0] for arm in ("none", RECOMMENDED, "popular"))
    assert f"| 100% | {none:.2f} | **{ours:.2f}** ({ARMS[RECOMMENDED]}) | " in lines[2]
    gain, low, high = (100 * value for value in best["gain"]["relative"])
    assert f"| {gain:+.1f}% ({low:+.1f}% to {high:+.1f}%), p < 0.001 | {popular:.2f} (most popular) |" in lines[2]
    lead, low, high = (100 * value for value in best["lead"]["difference"])
    assert lines[2].endswith(f"| {lead:+.2f} ({low:+.2f} to {high:+.2f}) |")
    assert len(tables.RENDERERS["main"](found).splitlines()) == len(lines) + 2  # a tenth of both


def test_the_headline_says_so_where_a_model_without_towers_is_ahead(study):
    for arm, rate in (("none", 0.3), (RECOMMENDED, 0.4), ("ease", 0.6)):
        study.add("frappe", arm, seeds=range(1 if arm == "ease" else 5), rate=rate)
        study.tune(arm, rate)
    for arm in ("popular", "itemknn", "ials"):
        study.tune(arm, 0.1)
    found = study.summarise()
    line = tables.RENDERERS["headline"](found).splitlines()[2]
    ease, ours = (found["cells"]["full"]["frappe"][arm]["recall_at_50"][0] for arm in ("ease", RECOMMENDED))
    assert f"| **{100 * ease:.2f}** (EASE) | \N{MINUS SIGN}" in line
    assert f"| {100 * ours:.2f} ({ARMS[RECOMMENDED]}) |" in line


def test_a_log_whose_pick_has_one_test_only_is_left_out(study):
    for arm, seeds in (("none", range(3)), (RECOMMENDED, [0]), ("popular", [0])):
        study.add("frappe", arm, seeds=seeds)
    for arm, score in (
        ("none", 0.4),
        (RECOMMENDED, 0.5),
        ("popular", 0.2),
        ("itemknn", 0.1),
        ("ease", 0.1),
        ("ials", 0.1),
    ):
        study.tune(arm, score)
    found = study.summarise()
    assert found["best"]["full"]["frappe"]["regularizer"] == RECOMMENDED
    assert tables.RENDERERS["main"](found) == "Not measured yet."


def test_too_few_seeds_are_marked(study):
    study.add("frappe", "none", seeds=range(2))
    text = tables.RENDERERS["full"](study.summarise())
    line = next(line for line in text.splitlines() if line.startswith(f"| {ARMS['none']} |"))
    assert line.endswith("†** |")
    assert "Frappe 2 of 3" in text


def test_the_claims_are_recorded(root, whole):
    recorded = {claim.id: claim for claim in claims.load(root / "benchmarks" / "results" / "evidence.json")}
    claim = recorded["regulariser_beats_none_full_logs"]
    assert (claim.value, claim.command) == (2, tables.COMMAND)
    assert claim.seconds == 2.0 * len(whole.trials)


def test_the_numbers_have_no_nan_and_seven_digits(root):
    text = (root / "benchmarks" / "results" / "evidence" / "tables.json").read_text()
    assert "NaN" not in text
    json.loads(text, parse_float=lambda number: len(number.split("e")[0].strip("-0.").replace(".", "")) <= 7 or 1 / 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- evidence:full -->", "come in pairs"),
        ("<!-- /evidence:full -->", "come in pairs"),
        ("<!-- evidence:full --><!-- /evidence:main -->", "come in pairs"),
        ("<!-- evidence:full --><!-- evidence:full --><!-- /evidence:full -->", "come in pairs"),
        ("<!-- evidence:absent --><!-- /evidence:absent -->", "must be one of headline, main"),
    ],
    ids=["unclosed", "unopened", "crossed", "nested", "unknown"],
)
def test_a_bad_marker_is_an_error_and_the_file_stays(root, text, message, capsys):
    (root / "README.md").write_text(text)
    assert tables.main(["--from-json"], root) == 1
    assert message in capsys.readouterr().err
    assert (root / "README.md").read_text() == text


def test_no_numbers_are_an_error_only_where_a_table_wants_them(tmp_path, capsys):
    (tmp_path / "README.md").write_text("No table.\n")
    assert tables.main(["--check"], tmp_path) == 0
    (tmp_path / "README.md").write_text("<!-- evidence:main --><!-- /evidence:main -->")
    assert tables.main(["--check"], tmp_path) == 1
    assert "tables.json must exist. Run python -m benchmarks.evidence.run" in capsys.readouterr().err


def test_every_table_says_so_when_there_is_nothing(study):
    found = study.summarise()
    for name, renderer in tables.RENDERERS.items():
        assert renderer(found), name
    assert plots.draw_all(found, study.ranks) == []


def test_figures_are_small_and_the_same_numbers_give_the_same_bytes(root, tmp_path):
    numbers = tables.load(root / "benchmarks" / "results")
    first, second = (plots.draw_all(numbers, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["evidence_gains.png", "evidence_slices.png"]
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 80_000
