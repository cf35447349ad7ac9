import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.evaluation import queries


def _positives(task):
    return [set(part.tolist()) for part in np.split(task.positive_rows, task.positive_offsets[1:-1])]


def _masked(task):
    return [set(part.tolist()) for part in np.split(task.masked_rows, task.masked_offsets[1:-1])]


EVENTS = {
    "query_ids": ["a", "b", "a", "a", "b"],
    "item_rows": [5, 1, 3, 5, 2],
    "times": [30, 20, 10, 40, 50],
    "seen": [[0, 1], [], [0], [0, 1, 3], [1, 7]],
    "vectors": np.arange(10).reshape(5, 2),
}


@pytest.mark.parametrize("rows_per_file", [None, 1, 2])
def test_a_query_is_ranked_once_at_its_first_event(tmp_path, make_spec, write_queries, rows_per_file):
    write_queries(tmp_path, **EVENTS, gender=["F", "M", "F", "F", "M"], rows_per_file=rows_per_file)
    task = queries.build_task(tmp_path, make_spec(slices=["gender"]), num_items=8)

    assert task.query_ids[task.cluster].tolist() == ["a", "b"]
    assert task.event_rows.tolist() == [2, 1]  # a's event at time 10, b's at time 20
    assert _positives(task) == [{3, 5}, {1, 2}]  # item 5 is held out twice and counts once
    assert _masked(task) == [{0}, set()]  # what was seen at the first event
    assert task.slices["gender"].tolist() == ["F", "M"]
    assert task.min_timestamp_us == 10
    assert queries.read_query_vectors(tmp_path, task.event_rows).tolist() == [[4, 5], [2, 3]]


def test_without_time_the_first_row_is_the_first_event(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **(EVENTS | {"times": None}))
    task = queries.build_task(tmp_path, make_spec(), num_items=8)
    assert task.event_rows.tolist() == [0, 1]
    assert task.min_timestamp_us is None


def test_equal_times_keep_the_order_of_rows(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **(EVENTS | {"times": [7] * 5}))
    assert queries.build_task(tmp_path, make_spec(), num_items=8).event_rows.tolist() == [0, 1]


def test_each_event_is_ranked_and_queries_stay_the_clusters(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **EVENTS)
    task = queries.build_task(tmp_path, make_spec(group_by="event"), num_items=8)
    assert task.event_rows.tolist() == [0, 1, 2, 3, 4]
    assert task.cluster.tolist() == [0, 1, 0, 0, 1]
    assert _positives(task) == [{5}, {1}, {3}, {5}, {2}]
    assert _masked(task) == [{0, 1}, set(), {0}, {0, 1, 3}, {1, 7}]
    assert task.ranking_of_pair.tolist() == [0, 1, 2, 3, 4]


# Query a chooses 4 again, then 6 for the first time, then 6 again; b chooses 1 again and nothing else.
REPEATS = {
    "query_ids": ["b", "a", "a", "a"],
    "item_rows": [1, 4, 6, 6],
    "times": [5, 10, 20, 30],
    "seen": [[1], [4, 2, 2], [2, 4], [2, 4, 6]],
    "vectors": np.arange(8).reshape(4, 2),
}


def test_held_out_repeats_are_masked_like_all_that_was_seen(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **REPEATS, gender=["M", "F", "F", "F"])
    task = queries.build_task(tmp_path, make_spec(slices=["gender"]), 8)
    # b has nothing to be asked for, and is no query any more; a is asked from its first new item on.
    assert task.query_ids[task.cluster].tolist() == task.query_ids.tolist() == ["a"]
    assert task.event_rows.tolist() == [2]
    assert _positives(task) == [{6}]
    assert _masked(task) == [{2, 4}]
    assert task.slices["gender"].tolist() == ["F"]
    assert task.num_repeats == 2  # (b, 1) and (a, 4); 6 was new when it was first held out
    assert task.min_timestamp_us == 5


def test_each_event_of_a_seen_item_is_a_repeat(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **REPEATS)
    task = queries.build_task(tmp_path, make_spec(group_by="event"), 8)
    assert (task.num_clusters, task.event_rows.tolist(), task.cluster.tolist()) == (1, [2], [0])
    assert (_positives(task), _masked(task), task.num_repeats) == ([{6}], [{2, 4}], 3)


@pytest.mark.parametrize("group_by", ["query", "event"])
def test_with_repeat_consumption_every_event_counts(tmp_path, make_spec, write_queries, group_by):
    write_queries(tmp_path, **REPEATS)
    task = queries.build_task(tmp_path, make_spec(group_by=group_by, mask_seen=False), 8)
    by_query, by_event = ([{1}, {4, 6}], [0, 1]), ([{1}, {4}, {6}, {6}], [0, 1, 2, 3])
    assert (_positives(task), task.event_rows.tolist()) == (by_query if group_by == "query" else by_event)
    assert (task.num_repeats, len(task.masked_rows)) == (0, 0)


@pytest.mark.parametrize("group_by", ["query", "event"])
def test_of_repeats_alone_none_is_dropped_and_nothing_masked(tmp_path, make_spec, write_queries, group_by):
    write_queries(tmp_path, ["a", "b", "b"], [4, 6, 1], np.ones((3, 2)), seen=[[4], [1, 6], [1, 6]], times=[1, 2, 3])
    task = queries.build_task(tmp_path, make_spec(group_by=group_by), 8)
    assert _positives(task) == ([{4}, {1, 6}] if group_by == "query" else [{4}, {6}, {1}])
    assert (task.masks_seen, task.num_repeats, len(task.masked_rows)) == (False, 0, 0)


@pytest.mark.parametrize(("mask_seen", "expected"), [(True, [{0, 2}, {1, 3}]), (False, [{0}, {1}])])
def test_the_own_row_is_always_masked(tmp_path, make_spec, write_queries, mask_seen, expected):
    write_queries(tmp_path, ["a", "b"], [4, 5], np.ones((2, 2)), seen=[[0, 2], [3]], times=[1, 2], query_row=[0, 1])
    task = queries.build_task(tmp_path, make_spec(same_as_items=True, mask_seen=mask_seen), 8)
    assert _masked(task) == expected
    assert task.query_rows.tolist() == [0, 1]


def test_seen_rows_are_kept_when_consumption_repeats(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **EVENTS)
    assert _masked(queries.build_task(tmp_path, make_spec(mask_seen=False), 8)) == [set(), set()]


def test_random_tasks_agree_with_a_loop_over_events(tmp_path, make_spec, write_queries):
    rng = np.random.default_rng(0)
    ids = [f"q{i}" for i in rng.integers(0, 40, 200)]
    items, times = rng.integers(0, 30, 200), rng.integers(0, 50, 200)
    seen = [rng.integers(0, 30, rng.integers(0, 9)).tolist() for _ in range(200)]
    write_queries(tmp_path, ids, items, np.ones((200, 2)), seen=seen, times=times, rows_per_file=37)
    task = queries.build_task(tmp_path, make_spec(), 30)

    new = [row for row in range(200) if items[row] not in seen[row]]
    for ranking, query in enumerate(task.query_ids[task.cluster]):
        own = [row for row in new if ids[row] == query]
        first = min(own, key=lambda row: (times[row], row))
        held_out = {int(items[row]) for row in own}
        assert task.event_rows[ranking] == first
        assert _positives(task)[ranking] == held_out
        assert _masked(task)[ranking] == set(seen[first]) - held_out
    assert task.num_rankings == task.num_clusters == len({ids[row] for row in new})
    pairs = [{(ids[row], items[row]) for row in rows} for rows in (range(200), new)]
    assert task.num_repeats == len(pairs[0]) - len(pairs[1]) > 10


def test_a_shard_without_any_time_or_text_of_its_own_type_is_read(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **EVENTS)
    table = pq.read_table(tmp_path / "part-00000.parquet")
    index = table.schema.get_field_index("timestamp_us")
    pq.write_table(table.set_column(index, "timestamp_us", pa.nulls(5)), tmp_path / "part-00001.parquet")
    assert queries.build_task(tmp_path, make_spec(group_by="event"), 8).num_rankings == 10


def test_ids_that_are_no_text_stay_readable(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, [b"\xff\x00", "\N{GRINNING FACE}\t\n".encode()], [0, 1], np.ones((2, 2)))
    task = queries.build_task(tmp_path, make_spec(), 8)
    assert task.query_ids.tolist() == ["\\xff\x00", "\N{GRINNING FACE}\t\n"]


def test_codes_of_many_chunks_are_those_of_one():
    chunks = [pa.array([b"b", b"a"], pa.binary()), pa.array([], pa.binary()), pa.array([b"a", b"c", b"b"], pa.binary())]
    codes, names = queries._encode(pa.chunked_array(chunks))
    assert codes.tolist() == [0, 1, 1, 2, 0]
    assert names.tolist() == ["b", "a", "c"]
    assert [len(part) for part in queries._encode(pa.chunked_array([], pa.binary()))] == [0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_rows": [5, 1, 3, 5, 8]}, r"item_row must lie in 0\.\.7.*1\.\.8"),
        ({"item_rows": [-1, 1, 3, 5, 0]}, r"item_row must lie in 0\.\.7"),
        ({"seen": [[], [], [99], [], []]}, r"seen_rows must lie in 0\.\.7"),
    ],
    ids=["beyond", "negative", "seen"],
)
def test_rows_outside_the_catalogue_are_an_error(tmp_path, make_spec, write_queries, change, message):
    write_queries(tmp_path, **(EVENTS | change))
    with pytest.raises(ValueError, match=message):
        queries.build_task(tmp_path, make_spec(), 8)


def test_a_query_outside_the_catalogue_is_an_error(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, ["a", "b"], [4, 5], np.ones((2, 2)), query_row=[0, 8])
    with pytest.raises(ValueError, match=r"query_row must lie in 0\.\.7.*0\.\.8"):
        queries.build_task(tmp_path, make_spec(same_as_items=True), 8)


def put_column(directory, name, values):
    """Writes another column in the place of one that the contract asks for."""
    path = directory / "part-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, values), path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("item_row", pa.array([5, 1, None, 5, 2], pa.int64())),
        ("query_id", pa.array([b"a", b"b", None, b"a", b"b"], pa.binary())),
    ],
    ids=["item", "query"],
)
def test_an_event_without_item_or_query_is_an_error(tmp_path, make_spec, write_queries, name, values):
    write_queries(tmp_path, **EVENTS)
    put_column(tmp_path, name, values)
    with pytest.raises(ValueError, match=f"{name} must have no null. Received 1."):
        queries.build_task(tmp_path, make_spec(), 8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([[1.0, 2.0], None, [3.0, 4.0], [1.0, 1.0], [0.0, 0.0]], pa.list_(pa.float32(), 2)), "with 1 nulls"),
        (pa.array([[1.0, 2.0]] * 5, pa.list_(pa.float32())), r"Received: list<item: float> with 0 nulls"),
    ],
    ids=["null", "ragged"],
)
def test_vectors_of_another_type_are_an_error(values, message):
    # As an array: Arrow does not write a Parquet file with a null among fixed-size lists, though others may.
    with pytest.raises(ValueError, match=f"vector must be a fixed_size_list<float32> without nulls.*{message}"):
        queries._vectors(values)


def test_an_empty_split_is_an_error(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, [], [], np.ones((0, 2)))
    with pytest.raises(ValueError, match="needs held-out events"):
        queries.build_task(tmp_path, make_spec(), 8)


def test_a_directory_without_files_is_an_error(tmp_path, make_spec):
    with pytest.raises(ValueError, match="Received none in"):
        queries.build_task(tmp_path, make_spec(), 8)


def test_a_missing_column_is_named(tmp_path, make_spec, write_queries):
    write_queries(tmp_path, **EVENTS)
    with pytest.raises(ValueError, match=r"Missing: \['gender'\]"):
        queries.build_task(tmp_path, make_spec(slices=["gender"]), 8)


# --- Items ------------------------------------------------------------------------------------------


def test_items_are_read_in_the_order_of_rows(tmp_path, write_items):
    write_items(tmp_path, [[1, 2], [3, 4], [5, 6]], [7, 0, 9], rows_per_file=2)
    ids, vectors, counts = queries.read_item_embeddings(tmp_path)
    assert ids.tolist() == ["item-0", "item-1", "item-2"]
    assert vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert vectors.dtype == np.float32
    assert counts.tolist() == [7, 0, 9]


@pytest.mark.parametrize("rows", [[1, 0], [0, 2], [0, 0]])
def test_items_out_of_order_are_an_error(tmp_path, write_items, rows):
    write_items(tmp_path, [[1, 2], [3, 4]], [1, 1], rows=rows)
    with pytest.raises(ValueError, match=r"rows 0\.\.N-1 in sorted file order"):
        queries.read_item_embeddings(tmp_path)


# --- Pairing ----------------------------------------------------------------------------------------


def test_the_same_events_pass_whatever_the_vectors_and_shards(tmp_path, write_queries):
    write_queries(tmp_path / "a", **EVENTS)
    write_queries(tmp_path / "b", **(EVENTS | {"vectors": np.zeros((5, 3))}), rows_per_file=2)
    assert queries.check_same_queries(tmp_path / "a", tmp_path / "b") == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_rows": [5, 1, 3, 5, 0]}, "different item_row at row 4: 2 and 0"),
        ({"query_ids": ["a", "b", "c", "a", "b"]}, "different query_id at row 2"),
        ({"times": [30, 21, 10, 40, 50]}, "different timestamp_us at row 1: 20 and 21"),
        ({"times": [30, None, 10, 40, 50]}, "different timestamp_us at row 1: 20 and None"),
    ],
    ids=["item", "query", "time", "no-time"],
)
def test_different_events_are_an_error(tmp_path, write_queries, change, message):
    write_queries(tmp_path / "a", **EVENTS)
    write_queries(tmp_path / "b", **(EVENTS | change))
    with pytest.raises(ValueError, match=message):
        queries.check_same_queries(tmp_path / "a", tmp_path / "b")


def test_a_different_number_of_events_is_an_error(tmp_path, write_queries):
    write_queries(tmp_path / "a", **EVENTS)
    write_queries(tmp_path / "b", ["a"], [5], np.ones((1, 2)))
    with pytest.raises(ValueError, match="5 rows in .* and 1 in"):
        queries.check_same_queries(tmp_path / "a", tmp_path / "b")
