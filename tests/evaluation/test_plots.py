"""What the figures draw, read from matplotlib's artists."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex

from recsys_ssl.evaluation import plots

MINUS = "\u2212"


@pytest.fixture
def drawn(monkeypatch):
    """Draws a figure and returns its axes."""
    figures = []
    write = plots.to_svg

    def keep(figure):
        figures.append(figure)
        return write(figure)

    monkeypatch.setattr(plots, "to_svg", keep)

    def draw(how, report):
        assert how(report).startswith("<svg")
        return figures[-1].axes[0]

    return draw


# --- Forest -----------------------------------------------------------------------------------------


def make_row(name, lift, interval, significant=False, dimension="item frequency", metric="recall_at_50", n=1234):
    return {
        "metric": metric,
        "dimension": dimension,
        "slice": name,
        "n": n,
        "relative": lift,
        "relative_interval": interval,
        "significant": significant,
    }


OVERALL = make_row("", 0.0526, [0.0213, 0.0847], n=56789)
del OVERALL["significant"], OVERALL["slice"], OVERALL["dimension"]
SLICES = [
    make_row("head", -0.0123, [-0.0456, 0.0211]),
    make_row("tail", 0.0789, [0.0345, 0.1234], significant=True),
    make_row("few", 0.0333, None),
    make_row("cold", None, None),
    make_row("wide", 0.05, [-5.0, 6.0], dimension="gender"),
    make_row("far", 7.0, [-0.03, 9.0], dimension="gender"),
]
# Lines from the top: All, a heading, head to cold, a heading, wide and far.
LINES = {"All": 0, "head": 2, "tail": 3, "few": 4, "cold": 5, "wide": 7, "far": 8}
FOREST = {
    "verdict": {"primary": "recall_at_50"},
    "metrics": [make_row("", 0.9, [0.8, 1.0], metric="mrr"), OVERALL],
    "slices": [make_row("head", 0.9, [0.8, 1.0], metric="recall_at_10"), *SLICES],
}
# Four times the median reach of the intervals 0.0847, 0.0456, 0.1234, 6, 9 and of the overall lift 0.0526.
LIMIT = 4 * (0.0847 + 0.1234) / 2


def read_forest(axes):
    """Line -> (ends of the interval, lift, marker, filled), and the arrows as (x, line, marker)."""
    rows, arrows = {line: [None] * 4 for line in LINES.values()}, []
    for artist in axes.lines:
        x, y, marker = artist.get_xdata(), artist.get_ydata(), artist.get_marker()
        if marker in ("<", ">"):
            arrows.append((float(x[0]), int(y[0]), marker))
        elif marker in ("D", "o"):
            rows[y[0]][1:] = float(x[0]), marker, to_hex(artist.get_markerfacecolor()) != "#ffffff"
        elif tuple(y) != (0, 1):  # the line at zero spans the axes
            assert y[0] == y[1]
            rows[y[0]][0] = [float(end) for end in x]
    return rows, arrows


def test_the_forest_draws_the_intervals_and_lifts_of_the_report(drawn):
    rows, arrows = read_forest(drawn(plots.draw_forest, FOREST))
    assert rows == {
        LINES["All"]: [[0.0213, 0.0847], 0.0526, "D", True],
        LINES["head"]: [[-0.0456, 0.0211], -0.0123, "o", False],
        LINES["tail"]: [[0.0345, 0.1234], 0.0789, "o", True],
        LINES["few"]: [None, 0.0333, "o", False],
        LINES["cold"]: [None] * 4,
        LINES["wide"]: [pytest.approx([-LIMIT, LIMIT]), 0.05, "o", False],
        LINES["far"]: [pytest.approx([-0.03, LIMIT]), None, None, None],
    }
    assert arrows == [
        (pytest.approx(-LIMIT), LINES["wide"], "<"),
        (pytest.approx(LIMIT), LINES["wide"], ">"),
        (pytest.approx(LIMIT), LINES["far"], ">"),
    ]


def test_the_forest_writes_lifts_with_a_tenth_of_a_percent_and_counts(drawn):
    axes = drawn(plots.draw_forest, FOREST)
    texts = {(text.get_position()[0], text.get_position()[1]): text.get_text() for text in axes.texts}
    lifts = {name: texts[1.02, line] for name, line in LINES.items()}
    assert lifts == {
        "All": "+5.3%",
        "head": f"{MINUS}1.2%",
        "tail": "+7.9%",
        "few": "+3.3%",
        "cold": "undefined",
        "wide": "+5.0%",
        "far": "+700.0%",
    }
    assert {texts[1.15, line] for line in LINES.values()} == {"n = 56,789", "n = 1,234"}
    assert texts[1.15, LINES["All"]] == "n = 56,789"
    assert {line: text for (x, line), text in texts.items() if x < 0} == {1: "item frequency", 6: "gender"}
    assert dict(zip(axes.get_yticks().tolist(), [label.get_text() for label in axes.get_yticklabels()])) == {
        line: name for name, line in LINES.items()
    }
    assert axes.get_xlabel() == "Relative lift in Recall@50, treatment over control"
    low, high = axes.get_ylim()
    assert low > high  # the first row is at the top


def test_the_axis_of_the_forest_is_in_percent(drawn):
    axes = drawn(plots.draw_forest, FOREST)
    write = axes.xaxis.get_major_formatter()
    assert [write(value, None) for value in (-0.125, 0.0, 0.2)] == [f"{MINUS}12.5%", "0", "+20%"]
    assert axes.get_xlim() == pytest.approx((-1.04 * LIMIT, 1.04 * LIMIT))


def test_a_forest_without_any_interval_is_drawn(drawn):
    report = {
        "verdict": {"primary": "mrr"},
        "metrics": [{**OVERALL, "relative": None, "relative_interval": None}],
        "slices": [],
    }
    rows, arrows = read_forest(drawn(plots.draw_forest, report))
    assert rows[0] == [None] * 4
    assert arrows == []


@pytest.mark.parametrize(
    ("primary", "metric"),
    [("recall_at_10", "recall_at_10"), ("recall_at_50", "recall_at_50"), ("mrr", "recall_at_50")],
)
def test_the_forest_shows_the_primary_where_slices_of_items_have_it(primary, metric):
    assert plots.forest_metric({"verdict": {"primary": primary}}) == metric


@pytest.mark.parametrize(
    ("num_items", "slice_metrics", "primary", "metric"),
    [
        (45, ["recall_at_4"], "recall_at_50", "recall_at_4"),
        (160, ["recall_at_10", "recall_at_16"], "recall_at_10", "recall_at_10"),
        (160, ["recall_at_10", "recall_at_16"], "mrr", "recall_at_16"),
        (1000, ["recall_at_10", "recall_at_50"], "mrr", "recall_at_50"),
    ],
)
def test_the_forest_of_a_small_catalogue_shows_a_k_that_tells_models_apart(num_items, slice_metrics, primary, metric):
    report = {"verdict": {"primary": primary}, "slice_metrics": slice_metrics, "counts": {"items": num_items}}
    assert plots.forest_metric(report) == metric


def test_names_of_slices_are_shown_as_they_are_and_leave_sound_xml():
    names = ["$x_1", "a\x1b[2J\x00", "\u202eb", "<&--", "$\\frac{1}$"]
    svg = plots.draw_forest({**FOREST, "slices": [make_row(name, 0.1, [0.0, 0.2]) for name in names]})
    ElementTree.fromstring(svg)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", svg)
    assert r"a\x1b[2J\x00" in svg


# --- Recall curve and exposure ----------------------------------------------------------------------


@pytest.mark.parametrize("own", [{}, {"own_counts": [0.05, 0.1, 0.3]}], ids=["one floor", "two floors"])
def test_the_recall_curve_draws_each_arm(drawn, own):
    curve = {"k": [1, 10, 50], "treatment": [0.1, 0.3, 0.6], "control": [0.05, 0.2, 0.5], "popularity": [0.0, 0.1, 0.2]}
    curve |= own
    axes = drawn(plots.draw_recall_curve, {"recall_curve": curve})
    names = {"Treatment": "treatment", "Control": "control", "Most popular": "popularity"}
    names |= {"Own counts": "own_counts"} if own else {}
    assert [line.get_label() for line in axes.lines] == list(names)
    for line in axes.lines:
        assert list(line.get_xdata()) == curve["k"]
        assert list(line.get_ydata()) == curve[names[line.get_label()]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10", "20", "50"]
    assert axes.get_ylim()[0] == 0


def test_the_bars_of_the_exposure_add_up(drawn):
    exposure = {
        "slices": ["head", "torso", "tail", "cold"],
        "catalogue": [0.1, 0.2, 0.3, 0.4],
        "held_out": [0.4, 0.3, 0.2, 0.1],
        "treatment": [0.25, 0.25, 0.25, 0.25],
        "control": [0.5, 0.42, 0.08, 0.0],
        "popularity": [1.0, 0.0, 0.0, 0.0],
    }
    axes = drawn(plots.draw_exposure, {"exposure": exposure})
    arms = ["catalogue", "held_out", "treatment", "control", "popularity"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["Catalogue", "Held-out pairs", "Treatment", "Control", "Most popular"]
    assert axes.yaxis_inverted()  # the first of them is at the top
    for index, bars in enumerate(axes.containers):
        assert bars.get_label() == exposure["slices"][index]
        assert [bar.get_width() for bar in bars] == pytest.approx([exposure[arm][index] for arm in arms])
        left = [sum(exposure[arm][:index]) for arm in arms]
        np.testing.assert_allclose([bar.get_x() for bar in bars], left, atol=1e-12)
    # A share below 9% leaves no room for its number.
    shown = sorted(text.get_text() for text in axes.texts)
    assert shown == sorted(f"{share:.0%}" for arm in arms for share in exposure[arm] if share >= 0.09)
