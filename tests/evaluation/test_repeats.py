"""Items that were chosen before: read by id, scored exactly, and ranked as by brute force."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import rank
from recsys_ssl.evaluation.repeats import has_repeats, make_repeats, read_repeats

NUM_ITEMS, NUM_RANKINGS = 40, 12


def write(directory, columns, name="rows-0.parquet"):
    directory.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), directory / name)


def write_items(directory, ids):
    write(directory, {"item_id": pa.array(ids, pa.binary())})


@pytest.fixture
def dirs(tmp_path):
    """Three held-out events in two files, and a catalogue of three items, one of whose ids is no UTF-8."""
    write_items(tmp_path / "items", [b"a", b"\xff", b"c"])
    types = {"repeat_ids": pa.list_(pa.binary()), "repeat_scores": pa.list_(pa.float32())}
    types["repeat_temperature"] = pa.float32()
    for number, (ids, scores) in enumerate(
        [([[b"c", b"gone", b"a"], []], [[0.5, 9.0, -0.25], []]), ([[b"\xff"]], [[1.5]])]
    ):
        columns = {name: pa.array(values, types[name]) for name, values in zip(types, (ids, scores, [0.25] * len(ids)))}
        write(tmp_path / "queries", columns, f"rows-{number}.parquet")
    return tmp_path / "queries", tmp_path / "items"


def to_dicts(repeats):
    return [
        dict(zip(repeats.rows[start:stop].tolist(), repeats.scores[start:stop].tolist()))
        for start, stop in zip(repeats.offsets[:-1], repeats.offsets[1:])
    ]


@pytest.mark.parametrize("events", [[0, 1, 2], [2, 0], [1], [2, 2, 0]])
def test_repeats_are_those_of_the_chosen_events_by_id(dirs, events):
    every = [{2: 0.5, 0: -0.25}, {}, {1: 1.5}]
    found = read_repeats(*dirs, np.array(events))
    assert to_dicts(found) == [every[event] for event in events]
    assert found.temperature == 0.25


def test_embeddings_of_a_model_without_repeats_have_none(tmp_path):
    write_items(tmp_path / "items", [b"a"])
    write(tmp_path / "queries", {"query_id": pa.array([b"q"])})
    assert not has_repeats(tmp_path / "queries")
    assert read_repeats(tmp_path / "queries", tmp_path / "items", np.array([0])) is None


@pytest.fixture(scope="module")
def made():
    """Random vectors, repeats, held-out and masked items of 12 rankings; some have no repeat."""
    rng = np.random.default_rng(3)
    queries, items = (rng.normal(size=(n, 4)).astype(np.float32) for n in (NUM_RANKINGS, NUM_ITEMS))
    lists = [rng.permutation(NUM_ITEMS)[: number % 5] for number in range(NUM_RANKINGS)]
    ranking = np.repeat(np.arange(NUM_RANKINGS), [len(rows) for rows in lists])
    repeats = make_repeats(NUM_RANKINGS, ranking, np.concatenate(lists), rng.normal(scale=3, size=len(ranking)), 0.5)
    # The first repeat, where there is one, is held out, and another item beside it.
    positives = [sorted({int(rows[0]) if len(rows) else 0, 17}) for rows in lists]
    masked = [[row for row in (3, 5) if row not in chosen] for chosen in positives]
    task = RankingTask(
        num_items=NUM_ITEMS,
        event_rows=np.arange(NUM_RANKINGS),
        cluster=np.arange(NUM_RANKINGS),
        query_ids=np.array([str(number) for number in range(NUM_RANKINGS)]),
        positive_offsets=np.cumsum([0, *map(len, positives)]),
        positive_rows=np.concatenate(positives),
        masked_offsets=np.cumsum([0, *map(len, masked)]),
        masked_rows=np.concatenate(masked),
    )
    return task, queries, items, repeats


@pytest.mark.parametrize("rows_of_a_block", [1, 5, 12])
def test_ranks_are_those_of_all_scores_with_the_chance_to_come_again(made, rows_of_a_block):
    task, queries, items, repeats = made
    scores = queries @ items.T
    for ranking, own in enumerate(to_dicts(repeats)):
        for row, again in own.items():
            scores[ranking, row] = 0.5 * np.log(np.exp(scores[ranking, row] / 0.5) + np.exp(again / 0.5))
        scores[ranking, task.masked_rows[task.masked_offsets[ranking] : task.masked_offsets[ranking + 1]]] = -np.inf
    found = rank(task, queries, items, k=6, block_bytes=4 * NUM_ITEMS * rows_of_a_block, repeats=repeats)
    pairs = zip(task.ranking_of_pair, task.positive_rows)
    assert found.ranks.tolist() == [1 + (scores[ranking] > scores[ranking, row]).sum() for ranking, row in pairs]
    assert found.top_rows.tolist() == np.argsort(-scores, axis=1)[:, :6].tolist()
    assert found.ranks.tolist() != rank(task, queries, items).ranks.tolist()


def test_repeats_of_another_task_are_refused(made):
    task, queries, items, _ = made
    few = make_repeats(3, np.array([0]), np.array([1]), np.array([1.0]), 0.5)
    beyond = make_repeats(NUM_RANKINGS, np.array([0]), np.array([NUM_ITEMS]), np.array([1.0]), 0.5)
    endless = make_repeats(NUM_RANKINGS, np.array([0]), np.array([1]), np.array([np.nan]), 0.5)
    for wrong, message in ((few, "those of 3 rankings"), (beyond, "rows up to 40"), (endless, "must be finite")):
        with pytest.raises(ValueError, match=message):
            rank(task, queries, items, repeats=wrong)
