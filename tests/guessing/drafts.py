"""Drafts of small logs of clicks."""

import pandas as pd
import yaml

from recsys_ssl.guessing.draft import draft_spec
from recsys_ssl.guessing.roles import Options

TIME_S = 1_600_000_000


def draft(*given, **options):
    return yaml.safe_load(draft_spec([str(path) for path in given], Options(**options)).text)


def kinds(side):
    return {feature["name"]: feature["kind"] for feature in side["features"]}


def clicks(num=400, **columns):
    """A log of 20 users and 25 items."""
    rows = {
        "user": [f"u{number % 20}" for number in range(num)],
        "item": [f"i{number * 7 % 25}" for number in range(num)],
        "time": [TIME_S + 60 * number for number in range(num)],
    }
    return pd.DataFrame({**rows, **columns})


def things(num=25, **columns):
    rows = {"item": [f"i{number}" for number in range(num)], "topic": [f"t{number % 3}" for number in range(num)]}
    return pd.DataFrame({**rows, **columns})
