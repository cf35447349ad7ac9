"""README and docs: short pages, links that lead somewhere, names that exist. Nothing heavy is imported."""

import ast
import re
from pathlib import Path

import pytest

from pipelines.commands.app import app
from recsys_ssl.spec_files import load_spec

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")))

README_LINES = 110
PAGE_WORDS = 1200  # five minutes
ENCODER_LINES = 40
PYTHON_LINES = 8  # of the README's example, blank ones not counted

# What `--set` called its settings earlier.
OLD_SETTINGS = re.compile(
    r"train\.(regularizer|ssl_\w+|alignment_weight|value_dropout|feature_dropout|correlation|molecule_\w+)\b"
    r"|\bssl_(towers|weight|temperature|batch_size)\b"
    r"|\bmolecule_(encoder|size|hidden_dim|num_heads|num_blocks|depth|dropout|learning_rate|mask_rate)\b"
)
GENERATED = re.compile(r"<!-- ([a-z]+:[a-z0-9_-]+) -->.*?<!-- /\1 -->", re.DOTALL)
DEMO = re.compile(r"<!-- demo-output -->.*?<!-- /demo-output -->", re.DOTALL)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def written(page):
    """The text of a page without what a script wrote into it."""
    return DEMO.sub("", GENERATED.sub("", read(page)))


def prose(page):
    """The words that one reads from left to right: no code, no table, no target of a link."""
    lines = FENCE.sub("", written(page)).splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("|"))
    return re.sub(r"\]\([^)]*\)", "]", text).split()


def anchors(page):
    """Of the headings, as GitHub makes them."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = sum(of == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", of) is not None for of in found)
        found.append(f"{slug}-{count}" if count else slug)
    return found


def commands():
    """Names of the commands of `recsys-ssl`."""
    return {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}


# --- Length -----------------------------------------------------------------------------------------


def test_the_readme_fits_two_screens():
    assert len(read("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_takes_five_minutes_at_most(page):
    assert len(prose(page)) <= PAGE_WORDS


def test_the_page_on_encoders_is_short():
    assert len(read("docs/new_encoder.md").splitlines()) <= ENCODER_LINES


def test_the_example_of_the_readme_is_short():
    (code,) = (text for language, text in FENCE.findall(read("README.md")) if language == "python")
    assert len([line for line in code.splitlines() if line]) <= PYTHON_LINES


# --- Links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    broken = []
    for target in LINK.findall(FENCE.sub("", read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        inside = path.is_relative_to(ROOT) and path.exists()
        if not inside or (anchor and anchor not in anchors(path.relative_to(ROOT).as_posix())):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached_from_the_readme():
    reached, pending = set(), ["README.md"]
    while pending:
        page = pending.pop()
        reached.add(page)
        for target in LINK.findall(FENCE.sub("", read(page))):
            path = ((ROOT / page).parent / target.partition("#")[0]).resolve()
            name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            if name in PAGES and name not in reached:
                pending.append(name)
    assert reached == set(PAGES)


def test_every_picture_is_shown():
    shown = {((ROOT / page).parent / target).resolve() for page in PAGES for target in LINK.findall(read(page))}
    assert set((ROOT / "docs" / "images").iterdir()) <= shown


@pytest.mark.parametrize(
    ("headings", "expected"),
    [
        ("# A walk\n## `split` and `evaluation`", ["a-walk", "split-and-evaluation"]),
        ("# Head, torso, tail\n## Masks, or the query tower?", ["head-torso-tail", "masks-or-the-query-tower"]),
        ("# Again\n## Again", ["again", "again-1"]),
        ("```\n# no heading\n```\n# One", ["one"]),
    ],
    ids=["code", "punctuation", "twice", "fence"],
)
def test_anchors_are_those_of_github(headings, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "page.md").write_text(headings)
    assert anchors("page.md") == expected


# --- Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_settings_have_their_new_names(page):
    text = re.sub(r"\]\([^)]*\)", "]", written(page))  # a figure's file may be named after a setting
    assert [found[0] for found in OLD_SETTINGS.finditer(text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    named = set(re.findall(r"recsys-ssl ([a-z][a-z-]*)", written(page)))
    assert named <= commands()


def test_commands_are_found_in_the_source():
    assert {"run", "validate-spec", "spec-schema", "train", "pretrain", "finetune"} <= commands()


@pytest.mark.parametrize("page", ["README.md", "docs/own_data/first_run.md"])
def test_the_spec_of_a_page_is_valid(page, tmp_path):
    (text,) = (text for language, text in FENCE.findall(read(page)) if language == "yaml")
    (tmp_path / "shop.yaml").write_text(text)
    assert load_spec(tmp_path / "shop.yaml").name == "shop"


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_can_be_parsed(page):
    for language, text in FENCE.findall(read(page)):
        if language == "python":
            ast.parse(text)
