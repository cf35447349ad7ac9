import sys

import pytest

from pipelines.commands import entry


def test_an_installation_without_the_pipeline_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "pipelines.commands.app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match="need typer, which is not installed. Install a lock"):
        entry.main()
