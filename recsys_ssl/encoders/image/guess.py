"""Whether a column of texts names images, or holds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

from recsys_ssl.encoders.image.reading import SUFFIXES

_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_URI = re.compile(r"(?i)data:image/")
# As bytes look when what is no UTF-8 is replaced.
_BYTES = re.compile("(?s)\ufffdPNG|\ufffd\ufffd\ufffd|GIF8|RIFF.{1,4}WEBP")


def tell(texts: Sequence[str], words: Sequence[str]) -> Optional[str]:
    """See `contract.GuessModule`: whether 9 of 10 texts are paths of images, or images themselves."""
    num_names = sum(text.lower().endswith(SUFFIXES) and not _LINK.match(text) for text in texts)
    num_uris = sum(bool(_URI.match(text)) for text in texts)
    if num_names + num_uris >= 0.9 * len(texts):
        return "the texts name images" if num_names else "the texts are images in data URIs"
    num_files = sum(bool(_BYTES.match(text)) for text in texts)
    return "the values are files of images" if num_files >= 0.9 * len(texts) else None
