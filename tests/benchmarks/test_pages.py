import pytest

from benchmarks import pages

OLD = "<!-- topic:name -->\nold\n<!-- /topic:name -->\n"
NEW = "<!-- topic:name -->\nname anew\n<!-- /topic:name -->\n"


@pytest.mark.parametrize("name", ["README.md", "docs/page.md", "docs/folder/page.md", "docs/a/b/page.md"])
def test_a_page_is_filled_in_whatever_folder_of_docs(tmp_path, name):
    page = tmp_path / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(OLD)
    assert pages.fill_all(tmp_path, "topic", lambda table: f"{table} anew", check=True) == [name]
    assert page.read_text() == OLD
    assert pages.fill_all(tmp_path, "topic", lambda table: f"{table} anew", check=False) == [name]
    assert page.read_text() == NEW
    assert pages.fill_all(tmp_path, "topic", lambda table: f"{table} anew", check=True) == []


@pytest.mark.parametrize("name", ["CHANGELOG.md", "docs/page.txt", "other/page.md"])
def test_other_files_stay(tmp_path, name):
    page = tmp_path / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(OLD)
    assert pages.fill_all(tmp_path, "topic", lambda table: f"{table} anew", check=False) == []
    assert page.read_text() == OLD


def test_an_error_names_the_page_of_a_folder(tmp_path):
    page = tmp_path / "docs" / "folder" / "page.md"
    page.parent.mkdir(parents=True)
    page.write_text("<!-- topic:name -->")
    with pytest.raises(ValueError, match=r"^docs/folder/page\.md: topic markers come in pairs"):
        pages.fill_all(tmp_path, "topic", str, check=True)
