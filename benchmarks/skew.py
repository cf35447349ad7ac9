"""Measures how far served answers are from the pipeline's, on a finished run.

python -m benchmarks.skew --workdir build/demo

Logged test queries, 10,000 at most, are asked by their raw features of the recommender and of the exact one. The figure
is the largest absolute difference of a score from what the embeddings of the run give, see `serving.skew`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import RESULTS, describe_hardware, record
from recsys_ssl.serving.places import Places
from recsys_ssl.serving.recommender import Recommender
from recsys_ssl.serving.skew import measure_skew

COMMAND = "python -m benchmarks.skew"


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="of a finished `recsys-ssl run`")
    options = parser.parse_args(arguments)

    started = time.monotonic()
    embedded = find_embeddings(options.workdir)
    interactions_dir = Places.read(str(options.workdir)).interactions_dir
    skews, name = [], ""
    for model, is_exact in (("recommender", False), ("recommender-brute-force", True)):
        recommender = Recommender(options.workdir / model)
        name = recommender.spec.name
        skew = measure_skew(recommender, embedded / "items", embedded / "queries", interactions_dir, is_exact)
        print(f"{model}: {skew.num_queries:,} queries, {skew.num_popular:,} by popularity, {skew.max_abs:.2e}")
        skews.append(skew)
    print(describe_hardware())
    record(
        "serving",
        id="skew_max_abs",
        what="Largest difference of a served score from the pipeline's, "
        f"{skews[0].num_queries:,} logged queries of {name}",
        value=max(skew.max_abs for skew in skews),
        command=f"{COMMAND} --workdir build/{name}",
        seconds=time.monotonic() - started,
        results=results,
    )


def find_embeddings(workdir: Path) -> Path:
    """The directory of the treatment's embedded items and queries, the newest of a whole run.

    Raises:
        FileNotFoundError: there is none.
    """
    of_runs = sorted(
        (workdir / "tfx" / "Embed.treatment" / "embeddings").glob("[0-9]*"), key=lambda path: int(path.name)
    )
    found = [path for path in (*of_runs, workdir / "treatment") if (path / "queries").is_dir()]
    if not found:
        raise FileNotFoundError(f"no embeddings in {workdir}. Finish `recsys-ssl run` there.")
    return found[-1]


if __name__ == "__main__":
    main()
