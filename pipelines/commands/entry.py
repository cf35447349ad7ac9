"""The entry point of `recsys-ssl`: the application, or what is missing in an installation without the pipeline."""

import sys

from pipelines.commands.signals import Ended, describe_end, ends_on_signals


def main() -> None:
    try:
        with ends_on_signals():
            _run()
    except Ended as ended:  # before a command began, which tells of its end itself
        sys.stderr.write(f"error: {describe_end(ended.status)}\n")
        sys.exit(ended.status)


def _run() -> None:
    try:
        from pipelines.commands.app import main as run
    except ModuleNotFoundError as error:
        sys.exit(
            f"recsys-ssl: the commands need {error.name}, which is not installed. Install a lock (`make setup`) or the "
            "extra `pipeline`; see docs/operations/platforms.md."
        )
    run()
