"""Records a finished pre-training: time, molecules, sizes, figures and machine, in `results/molecules/pretrain.json`.

python -m benchmarks.molecules.pretrain --workdir WORKDIR --data FILE     (WORKDIR of `recsys-ssl pretrain molecule`)

Run it on the machine of the pre-training. A run that was interrupted tells the seconds of its last process only, so
minutes are those of all steps at the speed of that process; of an uninterrupted run they are its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import RESULTS, describe_commit, describe_hardware
from recsys_ssl.artifacts import PRETRAIN_RESULT_FILE

RECORD = RESULTS / "molecules" / "pretrain.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="of `recsys-ssl pretrain molecule`")
    parser.add_argument("--data", type=Path, required=True, help="the file of SMILES, named in the command")
    parser.add_argument("--record", type=Path, default=RECORD)
    options = parser.parse_args(arguments)
    path = options.workdir / PRETRAIN_RESULT_FILE
    if not path.exists():
        print(f"{path} must exist. Run `recsys-ssl pretrain molecule` to its end.", file=sys.stderr)
        return 1
    found = summarise(json.loads(path.read_text(encoding="utf-8")))
    command = f"recsys-ssl pretrain molecule --data {options.data.name} --workdir WORKDIR"
    found |= {"command": command, "hardware": describe_hardware(), "commit": describe_commit()}
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{found['minutes']} minutes, {found['molecules']:,} molecules: {options.record}")
    return 0


def summarise(result: Mapping[str, Any]) -> dict[str, Any]:
    """What `recsys_ssl.encoders.pretrain` wrote, less its paths, with the minutes of all steps."""
    config = result["config"]
    seconds = result["last_step"] * config["batch_size"] / result["examples_per_second"]
    return {
        "minutes": round(seconds / 60, 1),
        "molecules": result["data"]["num_train"],
        "size": config["size"],
        "best_step": result["best_step"],
        "last_step": result["last_step"],
        "molecules_per_second": round(result["examples_per_second"], 1),
        "figures": {name: round(value, 4) for name, value in result["figures"].items()},
        "config": config,
    }


if __name__ == "__main__":
    sys.exit(main())
