"""Text of a log where people see it: on a terminal, in HTML and in SVG."""

from __future__ import annotations

import re

# Controls (C0, DEL, C1), what turns the direction of a text, invisible characters but those that join letters and
# emoji, line and paragraph separators, halves of surrogate pairs, tags, and what no Unicode text has. XML has no form
# for most of them; a terminal takes some for commands.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 17))
    + "]"
)


def make_visible(text: str, keep: str = "") -> str:
    r"""The text with every control and invisible character as an escape: "\x1b[2J" shows as `\x1b[2J`.

    Args:
        keep: characters that stay as they are, such as line ends in a text of several lines.

    Examples:
        >>> print(make_visible("two\nlines \x1b]0;title\x07"))
        two\nlines \x1b]0;title\x07
    """
    return _HIDDEN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
