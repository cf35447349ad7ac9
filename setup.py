"""Installs recsys_ssl, the pipelines and the command `recsys-ssl`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_requirements() -> tuple[list[str], list[str]]:
    """The direct dependencies of requirements.in: of the package, and those below `# Development`."""
    runtime, development = (ROOT / "requirements.in").read_text(encoding="utf-8").split("# Development")
    return tuple(
        [line for line in (raw.partition("#")[0].strip() for raw in part.splitlines()) if line]
        for part in (runtime, development)
    )


def read_version() -> str:
    source = (ROOT / "recsys_ssl" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE).group(1)


runtime, development = read_requirements()

setup(
    name="recsys_ssl",
    version=read_version(),
    description="Large-scale retrieval recommenders regularised by self-supervision, from logs to an A/B report.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    packages=find_packages(include=["recsys_ssl", "recsys_ssl.*", "pipelines", "pipelines.*"]),
    package_data={"": ["*.jinja"]},
    install_requires=runtime,
    extras_require={"dev": development},
    entry_points={"console_scripts": ["recsys-ssl = pipelines.commands.app:main"]},
)
