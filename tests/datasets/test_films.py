"""MovieLens-100K with posters: a made copy of the user's becomes tables and a plain archive."""

import gzip
import io
import tarfile

import pandas as pd
import pytest

from recsys_ssl.datasets.films import GENRES, copy_posters
from recsys_ssl.datasets.sources import DatasetError, fetch

NAME = "movielens-100k-posters"


def film(number, title, release, *genres):
    flags = "|".join(str(int(genre in genres)) for genre in GENRES)
    return f"{number}|{title}|{release}||http://example.org|{flags}\n"


ITEMS = (
    film(1, 'Amélie\'s "Toys" (1995)', "01-Jan-1995", "Animation", "Comedy")
    + film(2, "unknown", "", "unknown")
    + film(3, "Alien (1979)", "25-May-1979", "Sci-Fi")
)


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def copy(tmp_path):
    top = tmp_path / "copy"
    top.mkdir()
    (top / "u.data").write_text("7\t1\t5\t881250949\n8\t3\t1\t881250950\n")
    (top / "u.item.gz").write_bytes(gzip.compress(ITEMS.encode("latin-1")))
    (top / "u.user").write_text("7|24|M|technician|85711\n8|53|F|other|94043\n")
    write_tar(top / "my_posters_w92.tar.gz", {"small/3.jpg": b"alien", "1.jpg": b"toys", "README": b"no"}, "w:gz")
    return top


def test_a_copy_becomes_tables_and_a_plain_archive(copy, tmp_path):
    fetch(NAME, tmp_path / "to", copy)
    films = pd.read_csv(tmp_path / "to" / "films.csv", dtype=str, keep_default_na=False)
    assert films.values.tolist() == [
        ["1", 'Amélie\'s "Toys" (1995)', "1995", "Animation|Comedy", "1.jpg"],
        ["2", "unknown", "", "", ""],
        ["3", "Alien (1979)", "1979", "Sci-Fi", "3.jpg"],
    ]
    assert (tmp_path / "to" / "ratings.csv").read_text() == "user,film,rating\n7,1,5\n8,3,1\n"
    assert (
        tmp_path / "to" / "users.csv"
    ).read_text() == "user,age,gender,occupation\n7,24,M,technician\n8,53,F,other\n"
    with tarfile.open(tmp_path / "to" / "posters.tar", "r:") as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == {
            "1.jpg": b"toys",
            "3.jpg": b"alien",
        }


def test_of_two_posters_of_a_film_the_first_counts(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": b"first", "1.jpg": b"second"})
    assert copy_posters(tmp_path / "a.tar", tmp_path / "b.tar") == {"1": "1.png"}


def test_a_copy_without_posters_is_told(copy, tmp_path):
    (copy / "my_posters_w92.tar.gz").unlink()
    with pytest.raises(DatasetError, match=r"--source must hold \*posters\*.tar, or .tar.gz"):
        fetch(NAME, tmp_path / "to", copy)


def test_posters_of_no_film_are_told(copy, tmp_path):
    write_tar(copy / "my_posters_w92.tar.gz", {"99.jpg": b"other"}, "w:gz")
    with pytest.raises(DatasetError, match="must hold posters, each ID.jpg of a film of u.item. Received: none"):
        fetch(NAME, tmp_path / "to", copy)


def test_a_damaged_archive_is_told_and_leaves_nothing(copy, tmp_path):
    path = copy / "my_posters_w92.tar.gz"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DatasetError, match="my_posters_w92.tar.gz cannot be read: .* Check the file"):
        fetch(NAME, tmp_path / "to", copy)
    assert list((tmp_path / "to").iterdir()) == []
