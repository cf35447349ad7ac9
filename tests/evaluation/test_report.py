"""The report as a page and as JSON, of arms that are evaluated from end to end."""

import json
import re

import pytest

from recsys_ssl.evaluation.report import render_report, write_report
from tests.evaluation.tasted_arms import CONFIG, CUTS, NUM_ITEMS, evaluate_once


@pytest.fixture
def report(make_arms, make_spec):
    return evaluate_once(make_spec(slices=["gender"]), *make_arms(), CONFIG, CUTS)


def test_both_files_hold_the_same_numbers(tmp_path, report):
    html, twin = write_report(report, tmp_path / "report")
    page = html.read_text(encoding="utf-8")
    read = json.loads(twin.read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(report))
    for row in read["metrics"] + [row for row in read["slices"] if row["metric"] == "recall_at_50"]:
        cells = (f"{row['control']:.4f}", f"{row['treatment']:.4f}", f"{row['difference']:+.4f}".replace("-", "\u2212"))
        assert re.search(r"[^\n]*\n?[^\n]*".join(map(re.escape, cells)), page), (row["label"], cells)
    for floor in read["floor"]:
        assert f"<td>{floor['popularity']:.4f}</td>" in page
    for sentence in read["verdict"]["reasons"]:
        assert f"<li>{sentence}</li>" in page


def test_the_page_is_self_contained_and_escaped(report):
    page = render_report(report)
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "<user " not in page
    assert "&lt;user " in page


def test_the_page_holds_no_control_character_of_a_title(make_arms, make_spec):
    titles = [f"A\x1b[2J\x00\u202e {row}" for row in range(NUM_ITEMS)]
    report = evaluate_once(make_spec(slices=["gender"]), *make_arms(), CONFIG, CUTS, titles)
    page = render_report(report)
    assert r"A\x1b[2J\x00\u202e " in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", page)


def test_the_same_report_is_written_byte_for_byte(tmp_path, report):
    first = [path.read_bytes() for path in write_report(report, tmp_path / "a")]
    assert [path.read_bytes() for path in write_report(report, tmp_path / "b")] == first


def test_undefined_numbers_are_dashes(report):
    for row in (*report["metrics"], *report["slices"], *report["floor"]):
        for key in ("relative", "relative_interval", "interval", "p", "adjusted_p", "standard_error"):
            row[key] = None
    report["power"] = {"metric": "mrr", "minimum_detectable_effect": None, "relative": None}
    page = render_report(report)
    assert "None" not in page.replace("None is significantly worse", "").replace("None where the", "")
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


def test_a_number_that_json_cannot_hold_is_an_error(tmp_path, report):
    report["metrics"][0]["control"] = float("nan")
    with pytest.raises(ValueError):
        write_report(report, tmp_path)
    assert not list(tmp_path.glob("report.*"))
