"""Clusters against probes over encoders, and k-means at scale.

    python -m benchmarks.clustering beam                    the Beam job against memory
    python -m benchmarks.clustering towers                  trains item towers, writes their vectors
    python -m benchmarks.clustering molecules --data DIR    trains stages of GROVER, writes their vectors
    python -m benchmarks.clustering study --vectors DIR     judges all vectors that there are, then writes the results
    python -m benchmarks.clustering report                  writes claims, figures and tables from the trials alone

DIR of the images has ARM-SEED.npz of the arms of benchmarks.images, see `vector_files`. Vectors that a line of
benchmarks/results/clustering/trials.jsonl is of are not judged again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims import RESULTS, ROOT

_COMMANDS = ("beam", "towers", "molecules", "study", "report")


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS, root: Path = ROOT) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    what, rest = (given[0], given[1:]) if given and given[0] in _COMMANDS else (None, given)
    if what == "beam":
        from benchmarks.clustering import beam

        beam.main(rest, results)
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=_COMMANDS)
    if what in ("towers", "molecules"):
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--steps", type=int, help="of each training, for a try")
    if what == "molecules":
        parser.add_argument("--data", type=Path, required=True, help="directory of the two files of ChEMBL")
    if what == "study":
        parser.add_argument("--vectors", type=Path, help="directory of the vectors of images; of none when left out")
        parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(given)
    try:
        return _run(options, results, root)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, results: Path, root: Path) -> int:
    if options.what == "towers":
        from benchmarks.clustering import towers

        towers.write_vectors(options.seeds, options.steps)
    elif options.what == "molecules":
        from benchmarks.clustering import molecules

        steps = {} if options.steps is None else {"steps": options.steps}
        molecules.write_vectors(options.data, options.seeds, **steps)
    else:
        from benchmarks.clustering import study

        if options.what == "study":
            study.judge_all(options.vectors, options.workers, results)
        study.report(results, root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
