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
