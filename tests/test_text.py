"""Text of a log shows no control character, and whoever reads it sees that there was one."""

import unicodedata
import xml.etree.ElementTree as ElementTree

import pytest

from recsys_ssl.text import make_visible

EVERY_CHARACTER = "".join(chr(code) for code in range(0x110000))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J\x9b31m\x7f", r"\x1b[2J\x9b31m\x7f"),
        ("a\x00b\tc\r\nd", r"a\x00b\tc\r\nd"),
        ("\u202egnp\u2069", r"\u202egnp\u2069"),
        ("\ufeffa\u200bb\u2028", r"\ufeffa\u200bb\u2028"),
        ("\ud800\uffff\U000e0041\U0010ffff", r"\ud800\uffff\U000e0041\U0010ffff"),
        ("Zoë 🍕 [b] <i> $5$ \\x1b", "Zoë 🍕 [b] <i> $5$ \\x1b"),
        ("\u0645\u06cc\u200c\u062e 👩\u200d🚀", "\u0645\u06cc\u200c\u062e 👩\u200d🚀"),
        ("", ""),
    ],
    ids=["OSC", "CSI and C1", "NUL and lines", "bidi", "invisible", "no text", "plain", "joiners", "empty"],
)
def test_control_characters_become_escapes_and_all_others_stay(text, shown):
    assert make_visible(text) == shown


def test_no_control_is_left_of_all_characters_and_xml_takes_what_is():
    shown = make_visible(EVERY_CHARACTER)
    assert {character for character in shown if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")} == set()
    assert {
        c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")
    } == set()
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;")
    assert ElementTree.fromstring(f"<a>{escaped}</a>").text == shown


def test_characters_can_be_kept():
    assert make_visible("a\n\tb\x1b", keep="\n") == "a\n\\tb\\x1b"
