"""A new kind of content, a bag of characters, goes from pre-training to recommendations by a folder and one line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.encoders.new_kind import COMMANDS, FOLDER, changed_files, make_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    make_tree(root)
    return root


def test_a_folder_and_one_line_are_all(tree):
    assert {path for path in changed_files(tree) if not path.startswith(FOLDER)} == {"recsys_ssl/kinds.py"}
    child = subprocess.run([sys.executable, "-c", COMMANDS], cwd=tree, capture_output=True, text=True, timeout=500)
    assert child.returncode == 0, child.stdout[-3000:] + child.stderr[-3000:]

    figures = json.loads((tree / "pretrained" / "pretrain.json").read_text())
    assert figures["best_step"] == 20
    rejected = [json.loads(line) for path in (tree / "work" / "rejected").glob("*.jsonl") for line in path.open()]
    assert [(line["reason"], line["record"]["film"]) for line in rejected] == [
        ("title is no characters: too_long", "f99")
    ]
    result = json.loads((tree / "work" / "treatment" / "run" / "train_result.json").read_text())
    assert result["last_step"] == 6
    facts = json.loads((tree / "facts.json").read_text())
    assert facts["dim"] == 8
    assert len(facts["items"][0]) == 3
    # The content speaks for a film that is new.
    known, new = np.array(facts["vectors"])
    np.testing.assert_allclose([np.linalg.norm(known), np.linalg.norm(new)], 1.0, rtol=1e-5)
    assert np.abs(known - new).max() > 1e-4
