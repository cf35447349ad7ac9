"""What is written loads as what it was."""

import pytest
import yaml

from recsys_ssl.guessing.write import Entry, flow, list_guesses, to_yaml


@pytest.mark.parametrize(
    "value",
    [
        *("plain", "two words", "yes", "1e3", "a: b", "", " ", '"', "\\", "\t", "'", "#x", "é", "\u200b\U0001f600kind"),
        *("\U0001f468\u200d\U0001f469", "\ufeffa", "\u0085", "\u2028", "\U000e0001", "\x07"),
        *(True, False, 3, 0.5, ["a", "b"], {"a b": [1, "x"], "\u200b": 1.0}),
    ],
)
def test_a_value_loads_as_it_was(value):
    assert yaml.safe_load(f"key: {flow(value)}") == {"key": value}


def test_entries_that_are_not_used_are_comments():
    entries = [Entry("a", [Entry("b", 1, "seen"), Entry("c", {"d": 2}, "perhaps", used=False)])]
    text = to_yaml(entries, ["of\nlog"])
    assert text == "# of?log\na:\n  b: 1  # seen\n  # c: {d: 2}  # perhaps\n"
    assert list(list_guesses(entries)) == [("a.b", "1", "seen"), ("a.c", "none", "perhaps")]
