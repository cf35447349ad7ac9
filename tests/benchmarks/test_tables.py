import json
import re
import shutil

import pytest

from benchmarks import claims, tables

ROW = "| Recall@50, a\\|b | 0.25 | 0.2 to 0.3 | `make demo` | 12.3 s |"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "describe_hardware", lambda: "a CPU, 2 cores, 8 GiB")
    monkeypatch.setattr(claims, "describe_commit", lambda: "0123456789ab")
    claims.record(
        "demo",
        id="recall",
        what="Recall@50, a|b",
        value=0.25,
        interval=(0.2, 0.3),
        command="make demo",
        seconds=12.34,
        results=tmp_path / "benchmarks" / "results",
    )
    (tmp_path / "README.md").write_text("# Title\n\n<!-- table:demo -->\nold\n<!-- /table:demo -->\n\nText.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "plain.md").write_text("No table.\n")
    return tmp_path


def test_only_the_block_is_replaced(root):
    assert tables.main([], root) == 0
    assert (root / "README.md").read_text() == (
        "# Title\n\n<!-- table:demo -->\n"
        "| What | Value | 95% interval | Command | Time |\n|---|---:|---|---|---:|\n"
        f"{ROW}\n\nMeasured on a CPU, 2 cores, 8 GiB (commit 0123456789ab).\n"
        "<!-- /table:demo -->\n\nText.\n"
    )
    assert (root / "docs" / "plain.md").read_text() == "No table.\n"


def test_check_fails_while_stale_and_changes_nothing(root, capsys):
    before = (root / "README.md").read_text()
    assert tables.main(["--check"], root) == 1
    assert "tables are stale: README.md, run `make tables`" in capsys.readouterr().out
    assert (root / "README.md").read_text() == before
    assert tables.main([], root) == 0
    assert tables.main(["--check"], root) == 0


def test_a_new_number_makes_the_table_stale(root):
    tables.main([], root)
    results = root / "benchmarks" / "results"
    claims.record("demo", id="recall", what="x", value=0.26, command="c", seconds=1, results=results)
    assert tables.main(["--check"], root) == 1


def test_several_tables_in_one_file(root):
    block = "<!-- table:demo --><!-- /table:demo -->\n"
    (root / "docs" / "two.md").write_text(f"{block}between\n{block}")
    tables.main([], root)
    text = (root / "docs" / "two.md").read_text()
    assert text.count(ROW) == 2
    assert "<!-- /table:demo -->\nbetween\n<!-- table:demo -->" in text


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table:demo -->",
        "<!-- /table:demo -->",
        "<!-- table:demo --><!-- /table:other -->",
        "<!-- table:demo --><!-- table:demo --><!-- /table:demo -->",
    ],
    ids=["unclosed", "unopened", "crossed", "nested"],
)
def test_an_unpaired_marker_is_an_error_and_the_file_stays(root, text, capsys):
    (root / "README.md").write_text(text)
    assert tables.main([], root) == 1
    assert "README.md: table markers come in pairs" in capsys.readouterr().err
    assert (root / "README.md").read_text() == text


def test_a_topic_without_results_is_an_error(root, capsys):
    (root / "README.md").write_text("<!-- table:absent --><!-- /table:absent -->")
    assert tables.main([], root) == 1
    assert "Run the benchmark that records 'absent'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (302282.0, "302,282"), (0.0, "0"), (-2.5, "-2.5"), (999.9, "999.9"), (1e-9, "1e-09")],
)
def test_numbers_have_four_digits_and_thousands_are_whole(value, text):
    assert tables._number(value) == text


def test_the_tables_of_this_project_are_current(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr()


# --- All kinds, on a copy of this project ----------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    """The pages and results of this project, to be changed."""
    shutil.copytree(claims.RESULTS, tmp_path / "benchmarks" / "results")
    for page in (claims.ROOT / "README.md", *(claims.ROOT / "docs").rglob("*.md")):
        copy = tmp_path / page.relative_to(claims.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, copy)
    return tmp_path


def read_all(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def falsify(page, kind):
    """Changes the first number in the first table of a kind and returns it."""
    text = page.read_text(encoding="utf-8")
    before, opening, rest = text.partition(f"<!-- {kind}:")
    block, closing, after = rest.partition(f"<!-- /{kind}:")
    number = re.search(r"\d+\.\d+", block)
    changed = block[: number.start()] + "99.99" + block[number.end() :]
    page.write_text(before + opening + changed + closing + after, encoding="utf-8")
    return number[0]


def test_the_headline_of_the_readme_is_checked(project, capsys):
    numbers = json.loads((project / "benchmarks" / "results" / "evidence" / "tables.json").read_text())
    recall = numbers["cells"]["full"]["wikispeedia"]["none"]["recall_at_50"][0]
    assert falsify(project / "README.md", "evidence") == f"{100 * recall:.2f}"
    assert tables.main(["--check"], project) == 1
    assert capsys.readouterr().out == "evidence: tables are stale: README.md, run `make tables`\n"


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("table", "docs/demo.md"),
        ("table", "docs/molecules/moleculenet.md"),
        ("evidence", "README.md"),
        ("evidence", "docs/evidence.md"),
        ("compounds", "docs/molecules/new_compounds.md"),
        ("molecules", "docs/molecules/moleculenet.md"),
    ],
)
def test_a_changed_number_of_each_kind_is_found_and_written_anew(project, kind, page, capsys):
    before = read_all(project)
    falsify(project / page, kind)
    falsified = read_all(project)
    assert falsified != before
    assert tables.main(["--check"], project) == 1
    assert capsys.readouterr().out == f"{kind}: tables are stale: {page}, run `make tables`\n"
    assert read_all(project) == falsified
    assert tables.main([], project) == 0
    assert capsys.readouterr().out == f"{kind}: tables written: {page}\n"
    assert read_all(project) == before


def test_every_stale_page_is_told_whatever_else_is_wrong(project, capsys):
    falsify(project / "README.md", "evidence")
    falsify(project / "docs" / "evidence.md", "evidence")
    falsify(project / "docs" / "demo.md", "table")
    with (project / "docs" / "molecules.md").open("a") as page:
        page.write("<!-- compounds:absent --><!-- /compounds:absent -->\n<!-- moleculse:balanced -->\n")
    assert tables.main(["--check"], project) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "evidence: tables are stale: README.md, docs/evidence.md, run `make tables`",
        "table: tables are stale: docs/demo.md, run `make tables`",
    ]
    first, second = told.err.splitlines()
    assert first.startswith(
        "compounds: docs/molecules.md: a table of compounds must be one of results, differences, fusion."
    )
    assert second.startswith("docs/molecules.md: <!-- moleculse:balanced --> must be")


def test_making_tables_again_changes_no_byte(project, capsys):
    before = read_all(project)
    assert tables.main([], project) == 0
    assert capsys.readouterr().out == ""
    assert read_all(project) == before


def test_claims_of_molecules_are_those_of_the_trials(project, capsys):
    """They are made of trials and of the claims of compounds, and are shown in turn."""
    results = project / "benchmarks" / "results"
    recorded = json.loads((results / "molecules.json").read_text())
    recorded["claims"][-1]["value"] += 0.01
    (results / "molecules.json").write_text(json.dumps(recorded))
    assert tables.main(["--check"], project) == 1
    out = capsys.readouterr().out
    assert "molecules: tables are stale: benchmarks/results/molecules.json, run" in out
    assert "table: tables are stale: docs/molecules/moleculenet.md, run" in out

    page = (project / "docs" / "molecules" / "moleculenet.md").read_text()
    assert tables.main([], project) == 0
    assert tables.main(["--check"], project) == 0
    assert (project / "docs" / "molecules" / "moleculenet.md").read_text().split("Measured on")[0] == page.split(
        "Measured on"
    )[0]

    compounds = json.loads((results / "compounds.json").read_text())
    (claim,) = (claim for claim in compounds["claims"] if claim["id"] == "cold_compound_gain_lower_bound")
    claim["value"] = 0.5678
    (results / "compounds.json").write_text(json.dumps(compounds))
    assert tables.main(["--check"], project) == 1
    assert tables.main([], project) == 0
    assert "0.5678" in (project / "docs" / "molecules" / "moleculenet.md").read_text()


@pytest.mark.parametrize(
    "marker",
    [
        "<!-- evidnce:main -->",
        "<!-- /evidnce:main -->",
        "<!-- evidence:Main -->",
        "<!--table:demo-->",
        "<!-- table: demo -->",
    ],
)
def test_a_marker_that_nobody_renders_fails(root, marker, capsys):
    tables.main([], root)
    (root / "docs" / "plain.md").write_text(f"{marker}\n| 1 |\n")
    capsys.readouterr()
    for arguments in (["--check"], []):
        assert tables.main(arguments, root) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"docs/plain.md: {marker} must be `<!-- KIND:NAME -->`, KIND one of compounds, ")


@pytest.mark.parametrize(
    "comment", ["<!-- demo-output -->", "<!-- see https://example.org/a -->", "<!-- https://a.b -->"]
)
def test_other_comments_are_no_markers(root, comment):
    tables.main([], root)
    (root / "docs" / "plain.md").write_text(comment)
    assert tables.main(["--check"], root) == 0


def test_what_every_change_passes_checks_the_tables():
    steps = (claims.ROOT / ".ci" / "run").read_text().splitlines()
    assert steps.index("make lint") < steps.index("make check-tables") < steps.index("make test")
    makefile = (claims.ROOT / "Makefile").read_text()
    assert re.search(r"^check-tables:.*\n\t@\$\(BIN\)/python -m benchmarks\.tables --check$", makefile, re.MULTILINE)
