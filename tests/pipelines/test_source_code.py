"""The closure of a module's imports: on made-up packages, and held against what Python really loads."""

import os
from pathlib import Path

import pytest

from pipelines import source_code
from pipelines.source_code import closure, library_versions, source_hash

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write({path: source}) writes a project of its own; folders are packages."""
    monkeypatch.setattr(source_code, "ROOT", tmp_path)

    def write(sources):
        for path, source in sources.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            for folder in list(Path(path).parents)[:-1]:
                (tmp_path / folder / "__init__.py").touch()
            (tmp_path / path).write_text(source)

    return write


class TestClosure:
    @pytest.mark.parametrize(
        ("source", "imported"),
        [
            ("import recsys_ssl.a.b", {"recsys_ssl.a", "recsys_ssl.a.b"}),
            ("import recsys_ssl.a.b as short, recsys_ssl.c", {"recsys_ssl.a", "recsys_ssl.a.b", "recsys_ssl.c"}),
            ("import recsys_ssl.a", {"recsys_ssl.a"}),
            ("from recsys_ssl.a import b", {"recsys_ssl.a", "recsys_ssl.a.b"}),
            ("from recsys_ssl.a import CONSTANT", {"recsys_ssl.a"}),
            ("from recsys_ssl.a.b import function", {"recsys_ssl.a", "recsys_ssl.a.b"}),
            ("from recsys_ssl.a.b import *", {"recsys_ssl.a", "recsys_ssl.a.b"}),
            ("from . import c", {"recsys_ssl.c"}),
            ("from .a import b", {"recsys_ssl.a", "recsys_ssl.a.b"}),
            ("from .a.b import function", {"recsys_ssl.a", "recsys_ssl.a.b"}),
            ("def f():\n    from recsys_ssl import c", {"recsys_ssl.c"}),
            ("class A:\n    async def f(self):\n        import recsys_ssl.c", {"recsys_ssl.c"}),
            ("try:\n    import recsys_ssl.c\nexcept ImportError:\n    pass", {"recsys_ssl.c"}),
            ("if TYPE_CHECKING:\n    import recsys_ssl.c", set()),
            ("if typing.TYPE_CHECKING:\n    import recsys_ssl.c\nelse:\n    import recsys_ssl.a", {"recsys_ssl.a"}),
            ("import recsys_ssl.missing", set()),
            ("from recsys_ssl import missing", set()),
            ("import numpy.linalg, os\nfrom collections import abc", set()),
            ("import other.module", set()),
            ("text = 'import recsys_ssl.c'  # import recsys_ssl.c", set()),
        ],
    )  # fmt: skip
    def test_holds_what_a_module_imports(self, write, source, imported):
        write({"recsys_ssl/a/b.py": "", "recsys_ssl/c.py": "", "other/module.py": "", "recsys_ssl/start.py": source})
        assert set(closure("recsys_ssl.start")) == {"recsys_ssl", "recsys_ssl.start"} | imported

    def test_goes_on_through_what_is_imported_and_between_the_packages(self, write):
        write(
            {
                "pipelines/start.py": "from recsys_ssl.a import one",
                "recsys_ssl/a/one.py": "def f():\n    from ..b.deep import two",
                "recsys_ssl/b/deep/two.py": "from recsys_ssl.b import three",
                "recsys_ssl/b/three.py": "",
                "recsys_ssl/b/four.py": "",
            }
        )
        modules = ["a", "a.one", "b", "b.deep", "b.deep.two", "b.three"]
        expected = ("pipelines", "pipelines.start", "recsys_ssl", *(f"recsys_ssl.{name}" for name in modules))
        assert closure("pipelines.start") == expected

    def test_a_package_on_the_way_is_read_too(self, write):
        write({"recsys_ssl/a/b.py": "", "recsys_ssl/c.py": "", "recsys_ssl/d.py": "", "recsys_ssl/e/f.py": ""})
        write(
            {
                "recsys_ssl/__init__.py": "from .e import f",
                "recsys_ssl/a/__init__.py": "from . import b\nfrom .. import c",
            }
        )
        found = closure("recsys_ssl.a")
        assert found == (
            "recsys_ssl",
            "recsys_ssl.a",
            "recsys_ssl.a.b",
            "recsys_ssl.c",
            "recsys_ssl.e",
            "recsys_ssl.e.f",
        )

    def test_a_circle_ends(self, write):
        write({"recsys_ssl/a.py": "from recsys_ssl import b", "recsys_ssl/b.py": "def f():\n    import recsys_ssl.a"})
        assert closure("recsys_ssl.a") == closure("recsys_ssl.b") == ("recsys_ssl", "recsys_ssl.a", "recsys_ssl.b")

    def test_takes_more_modules_that_no_syntax_tree_names(self, write):
        write({"recsys_ssl/a.py": "", "recsys_ssl/kinds/one.py": "import recsys_ssl.c", "recsys_ssl/c.py": ""})
        expected = ("recsys_ssl", "recsys_ssl.a", "recsys_ssl.c", "recsys_ssl.kinds", "recsys_ssl.kinds.one")
        assert closure("recsys_ssl.a", "recsys_ssl.kinds.one") == expected

    @pytest.mark.parametrize("names", [["recsys_ssl.nowhere"], ["numpy"], ["recsys_ssl.a", "recsys_ssl.a.function"]])
    def test_must_begin_in_the_project(self, write, names):
        write({"recsys_ssl/a.py": "def function(): pass"})
        with pytest.raises(ValueError, match=f"a module of the project.* Received: '{names[-1]}'"):
            closure(*names)


class TestHash:
    @pytest.fixture
    def project(self, write, tmp_path):
        write(
            {
                "recsys_ssl/start.py": "from recsys_ssl.a import b",
                "recsys_ssl/a/b.py": "PAGE, FOLDER = 'page.html.jinja', 'folder'",
                "recsys_ssl/a/page.html.jinja": "{{ x }}",
                "recsys_ssl/a/other.jinja": "{{ x }}",
                "recsys_ssl/a/folder/c.py": "",
                "recsys_ssl/page.html.jinja": "not beside the module that names it",
            }
        )
        return tmp_path

    @pytest.mark.parametrize(
        "path", ["start.py", "__init__.py", "a/b.py", "a/__init__.py", "a/page.html.jinja"]
    )  # fmt: skip
    def test_a_comment_in_any_source_of_the_closure_changes_it(self, project, path):
        before = source_hash("recsys_ssl.start")
        with open(project / "recsys_ssl" / path, "a") as file:
            file.write("# a remark\n")
        assert source_hash("recsys_ssl.start") != before

    @pytest.mark.parametrize("path", ["a/folder/c.py", "a/other.jinja", "page.html.jinja", "a/b.pyc", "new.py"])
    def test_other_files_do_not_count(self, project, path):
        before = source_hash("recsys_ssl.start")
        with open(project / "recsys_ssl" / path, "a") as file:
            file.write("# a remark\n")
        assert source_hash("recsys_ssl.start") == before

    def test_a_renamed_source_counts(self, project):
        before = source_hash("recsys_ssl.start")
        (project / "recsys_ssl/a/b.py").rename(project / "recsys_ssl/a/d.py")
        (project / "recsys_ssl/start.py").write_text("from recsys_ssl.a import d")  # as many bytes
        assert source_hash("recsys_ssl.start") != before

    def test_neither_place_nor_time_counts(self, project, tmp_path_factory, monkeypatch):
        before = source_hash("recsys_ssl.start")
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        os.utime(project / "recsys_ssl/start.py", (1e9, 1e9))
        (project / "recsys_ssl").rename(elsewhere / "recsys_ssl")
        monkeypatch.setattr(source_code, "ROOT", elsewhere)
        assert source_hash("recsys_ssl.start") == before

    def test_more_modules_count(self, project):
        before = source_hash("recsys_ssl.start", "recsys_ssl.a.folder.c")
        assert before != source_hash("recsys_ssl.start")
        (project / "recsys_ssl/a/folder/c.py").write_text("# a remark\n")
        assert source_hash("recsys_ssl.start", "recsys_ssl.a.folder.c") != before


class TestLibraries:
    @pytest.fixture
    def installed(self, write, monkeypatch):
        """Distribution -> version, of a made-up environment; `recsys_ssl.start` imports some of them."""
        write(
            {
                "recsys_ssl/start.py": "import os, numpy.linalg\nfrom recsys_ssl import reader",
                "recsys_ssl/reader.py": "def read():\n    from yaml import safe_load\n    import nowhere",
            }
        )
        versions = {"numpy": "1.26.4", "PyYAML": "6.0.2", "rdkit": "2026.9.1"}

        def version(name):
            if name not in versions:
                raise source_code.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(source_code.metadata, "version", version)
        monkeypatch.setattr(source_code.metadata, "packages_distributions", lambda: {"yaml": ["PyYAML", "PyYAML"]})
        source_code._version.cache_clear()
        yield versions
        source_code._version.cache_clear()

    def test_are_those_that_the_closure_imports(self, installed):
        expected = {"nowhere": "absent", "numpy": "1.26.4", "yaml": "PyYAML 6.0.2"}
        assert library_versions("recsys_ssl.start") == expected
        assert library_versions("recsys_ssl.reader") == {key: expected[key] for key in ("nowhere", "yaml")}

    @pytest.mark.parametrize(("library", "counts"), [("numpy", True), ("PyYAML", True), ("rdkit", False)])
    def test_another_version_changes_the_hash_where_it_is_imported(self, installed, library, counts):
        before = source_hash("recsys_ssl.start")
        installed[library] = "99"
        source_code._version.cache_clear()
        assert (source_hash("recsys_ssl.start") != before) == counts


class TestProject:
    @pytest.mark.parametrize(
        ("component", "libraries"),
        [
            ("ingest", {"apache_beam", "numpy", "pandas", "pyarrow", "tfx", "tfx_bsl"}),
            ("transform", {"apache_beam", "tensorflow", "tensorflow_transform", "tfx"}),
            ("train", {"numpy", "tensorflow", "tf_keras", "tfx"}),
            ("index", {"numpy", "pyarrow", "scann", "tensorflow", "tfx"}),
            ("evaluate", {"matplotlib", "numpy", "scipy", "tfx"}),
        ],
    )
    def test_libraries_that_decide_what_a_component_writes_are_in_its_key(self, component, libraries):
        found = library_versions(f"pipelines.components.{component}")
        assert libraries <= found.keys()
        assert "absent" not in found.values()

    def test_rdkit_is_in_the_key_of_logs_with_molecules_only(self):
        assert "rdkit" not in library_versions("pipelines.components.ingest")
        assert "rdkit" in library_versions("pipelines.components.ingest", "recsys_ssl.encoders.molecule.column")

    def test_the_closure_of_a_component_is_what_python_loads(self, loaded_modules):
        """No module that runs is missing, and none is there that does not run."""
        differences = {names: set(closure(*names.split(","))) ^ loaded for names, loaded in loaded_modules.items()}
        assert {names: found for names, found in differences.items() if found} == {}

    @pytest.mark.parametrize(
        "path",
        [
            *("pipelines/config.py", "pipelines/console.py", "pipelines/retrieval.py", "pipelines/commands/app.py"),
            *("recsys_ssl/encoders/finetune.py", "recsys_ssl/encoders/pretrain.py"),
            *("recsys_ssl/encoders/molecule/scaffolds.py", "recsys_ssl/encoders/molecule/predictor.py"),
            "recsys_ssl/datasets/simulate.py",
        ],
    )
    def test_what_no_recommender_runs_is_in_no_closure(self, path):
        assert (ROOT / path).is_file()
        components = [file.stem for file in (ROOT / "pipelines" / "components").glob("*.py")]
        module = path.removesuffix(".py").replace("/", ".")
        assert [name for name in components if module in closure(f"pipelines.components.{name}")] == []

    def test_the_evaluation_runs_neither_training_nor_encoders(self):
        packages = {".".join(name.split(".")[:2]) for name in closure("pipelines.components.evaluate")}
        assert packages.isdisjoint({"recsys_ssl.training", "recsys_ssl.models", "recsys_ssl.encoders"})
