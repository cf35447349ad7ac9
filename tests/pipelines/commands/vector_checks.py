"""What the commands `cluster` and `probe` leave and say."""

import json


def read_scores(directory):
    report = json.loads((directory / "report.json").read_text())
    return {
        row["features"]: {name: score["mean"] for name, score in row["metrics"].items()} for row in report["scores"]
    }


def check_error(result, *parts):
    """One line, exit status 1, no trace."""
    assert result.status == 1
    assert "Traceback" not in result.output
    assert result.output.count("error: ") == 1
    assert [part for part in parts if part not in result.output] == [], result.output
