"""The tables of search and serving: every claim stands in one of them, where a reader looks for it."""

import re

import pytest

from benchmarks import serving_tables
from benchmarks.claims import RESULTS, Claim, load


def claim(id, value, interval=None):
    return Claim(
        id=id,
        what=f"what {id} is",
        value=value,
        interval=interval,
        unit="",
        command="python -m benchmarks.serving",
        seconds=1.0,
        hardware="a machine",
        commit="0123456",
    )


SEARCH = [
    claim("scann_cpu_ms_1m", 0.4, (0.3, 0.5)),
    claim("scann_recall_at_10_1m", 0.968),
    claim("scann_qps_vs_brute_force_1m", 50.0, (48.0, 52.0)),
    claim("brute_force_cpu_ms_1m", 20.0),
    claim("brute_force_recall_at_10_1m", 1.0),
]
LOAD = [
    claim(f"{what}_brute_force_{size}_{clients}", float(value))
    for size in (1_000_000, 10_000)
    for clients in (1, 8, 64)
    for what, value in (("p50", clients), ("p99", 2 * clients), ("requests_per_second", 300), ("failed", 1))
]
REST = [claim("skew_max_abs", 3e-7)]


def test_methods_stand_beside_brute_force():
    rows = serving_tables.render_search([*SEARCH, *LOAD, *REST]).splitlines()
    assert rows[2:4] == [
        "| 1,000,000 | brute force, plain TensorFlow | 1.000 | 20 | 1 |",
        "| 1,000,000 | ScaNN | 0.968 | 0.4 | 50 (48 to 52) |",
    ]
    assert rows[4] == ""


def test_clients_stand_side_by_side_and_small_catalogues_first():
    text = serving_tables.render_load([*LOAD, *SEARCH])
    assert text.splitlines()[0] == "| Items x 64 | Search | 1 client | 8 clients | 64 clients |"
    assert re.findall(r"^\| ([\d,]+) \|", text, re.MULTILINE) == ["10,000", "1,000,000"]
    assert "| 1 / 2 / 300 | 8 / 16 / 300 | 64 / 128 / 300 |" in text
    assert "6 requests failed" in text


def test_what_was_not_measured_is_said():
    assert serving_tables.render_load(REST) == "Not measured yet."


def test_every_claim_stands_in_one_table():
    claims = load(RESULTS / "serving.json")
    texts = [render(claims) for render in serving_tables.RENDERERS.values()]
    for found in claims:
        known = [pattern.fullmatch(found.id) for pattern in (serving_tables._SEARCH, serving_tables._LOAD)]
        assert any(known) or found.what in texts[-1], found.id
    methods = {
        serving_tables._SEARCH.fullmatch(found.id)["method"]
        for found in claims
        if "_cpu_ms_" in found.id and found.id != "bare_call_cpu_ms"
    }
    assert methods <= set(serving_tables._METHODS)


def test_an_unknown_table_is_told(tmp_path):
    (tmp_path / "README.md").write_text("<!-- serving:cost -->\n<!-- /serving:cost -->\n")
    with pytest.raises(ValueError, match="a table must be one of search, load, rest. Received: 'cost'"):
        serving_tables.fill_pages(tmp_path, check=True)
