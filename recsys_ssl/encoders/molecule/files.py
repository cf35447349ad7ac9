"""Files of SMILES: .smi, one molecule a line, or a column of a CSV file; plain or packed.

Which column it is, and what separates columns, is told

1. by the name or number that is asked for;
2. else by a header that names SMILES: `smiles` goes before other names with smiles in them (`canonical_smiles`), these
   before `smi`, `mol`, `structure` and `molecule`; of equals the first;
3. else by the first hundred lines: the only column half of whose texts or more give a molecule. Two such columns are an
   error, since names can be SMILES by chance (`CO`, `NO`); where there is none, the first is read.

Lines above a table that begin with `#` count as empty, see `count_comments`.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

from recsys_ssl.encoders.molecule.smiles import MoleculeError, parse
from recsys_ssl.encoders.molecule.text_files import are_selfies, check_smiles, read_head, read_lines

_DELIMITERS = (",", ";", "\t")
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", None: "blanks"}
_SEPARATOR = re.compile(r"[\s,;]")
_OTHER_NAMES = ("smi", "mol", "structure", "molecule")
_SAMPLE_LINES = 100


class Layout(NamedTuple):
    """Where the SMILES of a file are."""

    delimiter: Optional[str]
    """Of the columns; None: the SMILES is what comes first, up to a blank, a comma or a semicolon."""
    column: int
    """Place of the column, the first one 0."""
    num_columns: int
    has_header: bool


def read_smiles(path: str | os.PathLike, column: Optional[str] = None) -> Iterator[str]:
    """Streams the SMILES of a file: the text of a cell up to the first blank.

    An empty line is an empty SMILES, so that the places of the others are kept. A row with more or fewer cells than
    there are columns is given whole, which is no SMILES, unless it is the first column that is read.

    Args:
        column: a name of the header, or in a file without one a number, counted from 1; None: see above.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text (a ZIP archive, an SD file), it has no such column or two of its name, two columns may
            be meant, or it is damaged.
    """
    layout = find_layout(path, column)
    has_passed = not layout.has_header
    for cells in _read_rows(read_table_lines(path), layout.delimiter, path):
        is_empty = not any(cell.strip() for cell in cells)
        if not has_passed:
            has_passed = not is_empty  # lines before a header are none of its table
            continue
        if is_empty:
            yield ""
        elif layout.column and len(cells) != layout.num_columns:
            yield ",".join([*cells, ""])
        else:
            yield cut_smiles(cells[layout.column])


def cut_smiles(cell: str) -> str:
    """The SMILES of a cell, up to the first blank: names follow it, or ChemAxon's extension, `CCO |^1:0|`."""
    return "".join(cell.split(maxsplit=1)[:1])


def read_header(path: str | os.PathLike, column: str) -> tuple[str, list[str]]:
    """The delimiter of a table and the names of its columns, by which `column` is one of them if that is possible.

    Raises:
        FileNotFoundError, ValueError: see `read_smiles`.
    """
    lines = _read_table_head(path)
    headers = [(delimiter, _split(lines[0], delimiter)) for delimiter in _DELIMITERS] if lines else [(",", [])]
    delimiter, names = max(headers, key=lambda header: (column in header[1], len(header[1])))
    return delimiter, names


def read_table_lines(path: str | os.PathLike) -> Iterator[str]:
    """Lines as `read_lines`, those of comments above the table empty, so that the numbers of the others are kept."""
    num_left = count_comments(read_head(path))
    for line in read_lines(path):
        is_comment = num_left > 0 and bool(line.strip())
        num_left -= is_comment
        yield "\n" if is_comment else line


def count_comments(lines: Sequence[str]) -> int:
    """How many of the first lines are comments: they begin with `#`, and a header that says smiles or a table is below.

    Above a table without such a header the last one is its header if it has as many columns or names SMILES: `#smiles`.

    Args:
        lines: the first ones of a file that are not empty.
    """
    num_marked = 0
    while num_marked < len(lines) and lines[num_marked].startswith("#"):
        num_marked += 1
    table = lines[num_marked : num_marked + 2]
    if not num_marked or not table:
        return 0
    headers = [_split(table[0], delimiter) for delimiter in _DELIMITERS] + [table[0].split()[:1]]
    if any(_rank(name) in (0, 1) for names in headers for name in names):
        return num_marked
    delimiter = max(_DELIMITERS, key=lambda delimiter: min(len(_split(line, delimiter)) for line in table))
    names, *rows = [_split(line, delimiter) for line in table]
    if len(names) == 1 or any(len(row) != len(names) for row in rows):
        return 0
    marked = _split(lines[num_marked - 1], delimiter)
    is_header = len(marked) == len(names) or _find_name([*marked, *lines[num_marked - 1].split()]) is not None
    return num_marked - is_header


def _read_table_head(path: str | os.PathLike) -> list[str]:
    lines = read_head(path)
    return lines[count_comments(lines) :]


def check_distinct(names: Iterable[str], path: str | os.PathLike) -> None:
    """Raises ValueError when two columns have one name; columns without a name do not count."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name.strip()]
    if twice:
        raise ValueError(
            f"columns must have names of their own. Received: {', '.join(map(repr, twice))} more than once in "
            f"{str(path)!r}. Rename or remove one."
        )


# --- Which column ---------------------------------------------------------------------------------------


def find_layout(path: str | os.PathLike, column: Optional[str] = None) -> Layout:
    """Arguments and errors as `read_smiles`."""
    lines = _read_table_head(path)[:_SAMPLE_LINES]
    if not lines:
        return Layout(None, 0, 1, False)
    layout = _find_named(lines, column.strip(), path) if column is not None else _find_smiles(lines, path)
    rows = [_split(line, layout.delimiter) for line in lines[layout.has_header :]]
    check_smiles([row[layout.column] for row in rows if layout.column < len(row)], path)
    return layout


def _find_named(lines: Sequence[str], column: str, path: str | os.PathLike) -> Layout:
    headers = [(delimiter, _split(lines[0], delimiter)) for delimiter in _DELIMITERS]
    of_header, names = max(headers, key=lambda header: (column in header[1], len(header[1])))
    if column in names:
        check_distinct([name for name in names if name == column], path)
        return Layout(of_header if len(names) > 1 else None, names.index(column), len(names), True)
    if len(names) == 1 and column in lines[0].split():
        return _by_blanks(lines, lines[0].split().index(column), path)
    if column.isdecimal() and _find_name(names) is None:
        delimiter, num_columns = _guess_delimiter(lines)
        if 1 <= int(column) <= num_columns and (delimiter is not None or int(column) == 1):
            return Layout(delimiter, int(column) - 1, num_columns, False)
    raise ValueError(
        f"a column must be one of the header, or a number where there is no header. Received: {column!r}; the first "
        f"line of {str(path)!r} has {', '.join(map(repr, names[:20])):.300}. Name one of these."
    )


def _find_smiles(lines: Sequence[str], path: str | os.PathLike) -> Layout:
    found = []
    for delimiter in _DELIMITERS:
        names = _split(lines[0], delimiter)
        named = _find_name(names)
        if named is not None:
            found.append((-(_rank(names[named]) or 0), len(names), delimiter, named, names))
    if found:
        _, num_columns, delimiter, named, names = max(found, key=lambda of: of[:2])
        if num_columns > 1:
            check_distinct([name for name in names if name == names[named]], path)
            return Layout(delimiter, named, num_columns, True)
    words = lines[0].split()
    place = _find_name(words)
    # Words after a molecule are its name.
    if place is not None and not _is_molecule(words[0]):
        return _by_blanks(lines, place, path)
    return _by_content(lines, path)


def _by_blanks(lines: Sequence[str], place: int, path: str | os.PathLike) -> Layout:
    """The layout below a header without delimiters that names SMILES in the place-th of its words."""
    if place and any(len(line.split()) > 1 for line in lines[1:]):
        raise ValueError(
            "a column that is not the first must be parted by commas, semicolons or tabs. Received: blanks, "
            f"in the header {lines[0].strip()!r:.99} of {str(path)!r}. Put the SMILES first, or write CSV."
        )
    return Layout(None, 0, 1, True)


def _by_content(lines: Sequence[str], path: str | os.PathLike) -> Layout:
    delimiter, num_columns = _guess_delimiter(lines)
    rows = [_split(line, delimiter) for line in lines]
    columns = [[row[place] for row in rows if place < len(row)] for place in range(num_columns)]
    selfies = [place for place, texts in enumerate(columns) if are_selfies(texts)]
    shares = [sum(map(_is_molecule, texts)) / len(rows) for texts in columns]
    likely = [place for place, share in enumerate(shares) if share >= 0.5 and place not in selfies]
    if selfies and (not likely or any("selfies" in name.lower() for name in rows[0])):
        likely = selfies[:1]  # an error of its own
    if len(likely) > 1:
        raise ValueError(
            "a file without a header that names SMILES must have one column of them. Received: columns "
            f"{' and '.join(str(place + 1) for place in likely)} of {str(path)!r}, parted by "
            f"{_DELIMITER_NAMES[delimiter]}, read as SMILES alike. Give the file a header with the name smiles, or "
            f"name the column by --column {likely[0] + 1}."
        )
    if delimiter is None:
        return Layout(None, 0, 1, False)
    return Layout(delimiter, likely[0] if likely else 0, num_columns, False)


def _guess_delimiter(lines: Sequence[str]) -> tuple[Optional[str], int]:
    """The delimiter that parts nearly all lines into as many columns as the first one, and their number."""
    best: tuple[Optional[str], int] = None, 0
    for delimiter in _DELIMITERS:
        widths = [len(_split(line, delimiter)) for line in lines]
        if widths[0] > max(1, best[1]) and widths.count(widths[0]) >= 0.9 * len(widths):
            best = delimiter, widths[0]
    # Of a line of words the second may be taken for a molecule too, if names follow.
    return best if best[0] else (None, min(2, len(lines[0].split())))


def _find_name(names: Sequence[str]) -> Optional[int]:
    """Place of the name that most likely stands for SMILES; None if none does."""
    known = [(rank, place) for place, name in enumerate(names) if (rank := _rank(name)) is not None]
    return min(known)[1] if known else None


def _rank(name: str) -> Optional[int]:
    """0 for the likeliest name of a column of SMILES; None for one that names something else."""
    if any(delimiter in name for delimiter in _DELIMITERS):
        return None  # split by the wrong one
    plain = re.sub(r"[^a-z]", "", name.lower())
    if plain == "smiles":
        return 0
    if "smiles" in plain:
        return 1
    return 2 + _OTHER_NAMES.index(plain) if plain in _OTHER_NAMES else None


def _is_molecule(text: str) -> bool:
    try:
        parse(cut_smiles(text))
    except MoleculeError:
        return False
    return True


# --- Cells ----------------------------------------------------------------------------------------------


def _read_rows(lines: Iterable[str], delimiter: Optional[str], path: str | os.PathLike) -> Iterator[list[str]]:
    if delimiter is None:
        for line in lines:
            yield [_SEPARATOR.split(line.strip(), maxsplit=1)[0].strip('"')]
        return
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(
            f"a CSV file must have whole quotes and short cells. Received: {str(path)!r}, line {reader.line_num}: "
            f"{error}. Mend the line."
        ) from error


def _split(line: str, delimiter: Optional[str]) -> list[str]:
    """The cells of one line, without quotes and blanks around them."""
    cells = line.split() if delimiter is None else next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    return [cell.strip() for cell in cells]
