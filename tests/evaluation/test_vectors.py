import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl import lists
from recsys_ssl.evaluation import vectors

ROWS = np.arange(42.0, dtype=np.float32).reshape(14, 3)


def write(path, rows=ROWS, row_group_size=4, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({**{name: pa.array(values) for name, values in columns.items()}, "vector": rows})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def as_lists(rows, kind=None):
    return pa.array(rows.tolist(), kind or pa.list_(pa.float32()))


def read_all(table, **options):
    return [(rows.tolist(), found) for rows, found in table.iterate(**options)]


def check_whole(table, **options):
    found = read_all(table, **options)
    order = [row for rows, _ in found for row in rows]
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), ROWS[order])
    return found, order


@pytest.fixture
def embedded(tmp_path):
    """As `recsys-ssl embed` writes it."""
    return write(tmp_path / "v.parquet", lists.from_vectors(ROWS), row=range(14), text=[f"C{i}" for i in range(14)])


# --- Forms ---------------------------------------------------------------------------------------------


def test_what_embed_writes(embedded):
    table = vectors.open_vectors(embedded)
    assert (table.num_rows, table.dim, table.id_column) == (14, 3, "text")
    assert table.read_ids().to_pylist() == [f"C{i}" for i in range(14)]
    assert check_whole(table, batch_rows=5)[1] == list(range(14))


def test_the_items_of_a_run_in_the_order_of_their_files(tmp_path, write_items):
    directory = write_items(tmp_path / "items", ROWS, [1] * 14, rows_per_file=5)
    table = vectors.open_vectors(directory)
    assert (table.num_rows, table.id_column) == (14, "item_id")
    assert table.read_ids().to_pylist() == [f"item-{i}" for i in range(14)]
    check_whole(table)


@pytest.mark.parametrize(("prior", "dim"), [(0.5, 2), (0.0, 3)], ids=["prior", "no prior"])
def test_what_counts_alone_gave_an_item_is_no_part_of_its_vector(tmp_path, write_items, prior, dim):
    directory = write_items(tmp_path / "items", ROWS, [1] * 14)
    (directory / "train_settings.json").write_text(f'{{"popularity_prior": {prior}}}')
    table = vectors.open_vectors(directory)
    assert table.dim == dim
    np.testing.assert_array_equal(table.gather(np.ones(14, bool)), ROWS[:, :dim])


def test_the_queries_of_a_run(tmp_path, write_queries):
    table = vectors.open_vectors(write_queries(tmp_path / "queries", ["a", "b"] * 7, [0] * 14, ROWS))
    assert table.read_ids().to_pylist() == ["a", "b"] * 7


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int32()), pa.list_(pa.float64(), 3)],
    ids=str,
)
def test_any_lists_of_equal_length(tmp_path, kind):
    rows = ROWS.astype(int) if pa.types.is_integer(kind.value_type) else ROWS
    check_whole(vectors.open_vectors(write(tmp_path / "v.parquet", as_lists(rows, kind))))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "v.npy", ROWS.astype(dtype))
    np.savez(tmp_path / "v.npz", vectors=ROWS.astype(dtype), ids=np.array([f"i{i}" for i in range(14)]))
    for name, ids in (("v.npy", None), ("v.npz", [f"i{i}" for i in range(14)])):
        table = vectors.open_vectors(tmp_path / name)
        assert (None if table.read_ids() is None else table.read_ids().to_pylist()) == ids
        assert next(table.iterate())[1].dtype == np.float32
        check_whole(table)


# --- Batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_group_size", [1, 4, 5, 14])
def test_batches_do_not_show_the_layout_of_the_file(tmp_path, row_group_size):
    table = vectors.open_vectors(write(tmp_path / "v.parquet", lists.from_vectors(ROWS), row_group_size))
    found, _ = check_whole(table, batch_rows=5)
    assert [rows for rows, _ in found] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13]]


def test_only_what_is_kept_comes(embedded):
    table, keep = vectors.open_vectors(embedded), np.arange(14) % 3 == 0
    assert [rows for rows, _ in read_all(table, batch_rows=2, keep=keep)] == [[0, 3], [6, 9], [12]]
    np.testing.assert_array_equal(table.gather(keep), ROWS[keep])
    assert table.gather(np.zeros(14, bool)).shape == (0, 3)


def test_an_order_is_drawn_and_holds_each_row_once(embedded):
    table = vectors.open_vectors(embedded)
    orders = [check_whole(table, batch_rows=5, order=np.random.default_rng(seed))[1] for seed in (0, 0, 1)]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(14))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != list(range(14))


# --- Errors --------------------------------------------------------------------------------------------


def test_a_vector_that_is_not_finite_is_named(tmp_path):
    rows = ROWS.copy()
    rows[9, 1] = np.nan
    table = vectors.open_vectors(write(tmp_path / "v.parquet", lists.from_vectors(rows)))
    with pytest.raises(ValueError, match="NaN or infinity in row 9 of .*v.parquet. Leave the row out"):
        read_all(table, batch_rows=3)
    assert len(table.gather(np.arange(14) != 9)) == 13  # what is left out is not asked


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pa.array(ROWS[:, 0]), "must hold lists of numbers. Received: float"),
        (pa.array([["a"]] * 14), "must hold lists of numbers"),
    ],
    ids=["numbers", "texts"],
)
def test_other_columns_of_vectors_are_an_error(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        vectors.open_vectors(write(tmp_path / "v.parquet", rows))


@pytest.mark.parametrize("other", [[1.0], None, [1.0, 2.0, 3.0, 4.0]], ids=["short", "null", "long"])
def test_lists_of_other_lengths_are_an_error(tmp_path, other):
    rows = pa.array([*ROWS[:13].tolist(), other], pa.list_(pa.float32()))
    with pytest.raises(ValueError, match="all vectors must have 3 numbers"):
        read_all(vectors.open_vectors(write(tmp_path / "v.parquet", rows)))


def test_a_table_without_vectors_is_an_error(tmp_path):
    pq.write_table(pa.table({"embedding": [1]}), tmp_path / "v.parquet")
    with pytest.raises(ValueError, match="must have a column 'vector'. Received: embedding"):
        vectors.open_vectors(tmp_path / "v.parquet")
    np.savez(tmp_path / "v.npz", embedding=ROWS)
    with pytest.raises(ValueError, match="must have an array 'vectors'. Received: embedding"):
        vectors.open_vectors(tmp_path / "v.npz")


def test_what_is_not_there_or_not_whole_is_an_error(tmp_path, embedded):
    with pytest.raises(FileNotFoundError, match="vectors must exist"):
        vectors.open_vectors(tmp_path / "no.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must hold \*.parquet"):
        vectors.open_vectors(tmp_path / "empty")
    embedded.write_bytes(embedded.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged, or not whole"):
        vectors.open_vectors(embedded)
    (tmp_path / "v.npy").write_text("no array")
    with pytest.raises(ValueError, match="is damaged, or not whole"):
        vectors.open_vectors(tmp_path / "v.npy")
    with pytest.raises(ValueError, match="vectors must have rows"):
        vectors.open_vectors(write(tmp_path / "none.parquet", as_lists(ROWS[:0])))


def test_arrays_that_are_no_vectors_are_an_error():
    with pytest.raises(ValueError, match="must be \\[rows, columns\\]. Received: shape \\(3,\\)"):
        vectors.from_array(np.zeros(3))
    with pytest.raises(TypeError, match="must be numbers. Received: <U1"):
        vectors.from_array(np.array([["a"]]))
    with pytest.raises(ValueError, match="Received: 1 for 2 rows"):
        vectors.from_array(np.zeros([2, 2]), ["a"])
