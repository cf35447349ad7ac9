"""The entry point of `recsys-ssl`: the application, or what is missing in an installation without the pipeline."""

import sys


def main() -> None:
    try:
        from pipelines.commands.app import main as run
    except ModuleNotFoundError as error:
        sys.exit(
            f"recsys-ssl: the commands need {error.name}, which is not installed. Install a lock (`make setup`) or the "
            "extra `pipeline`; see docs/operations/platforms.md."
        )
    run()
