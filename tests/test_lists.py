import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl import lists

BYTES, INT64, FLOAT32 = pa.large_binary(), pa.int64(), pa.float32()
RECORDS = [[1, 2], [], None, [3], [4, 5, 6]]
ARRAY = pa.array(RECORDS, pa.large_list(INT64))

# A null whose offsets enclose values, which Arrow allows: [[1, 2], null, [5]] over 1..5.
HIDING = pa.LargeListArray.from_buffers(
    pa.large_list(INT64),
    3,
    [pa.py_buffer(bytes([0b101])), pa.array([0, 2, 4, 5], INT64).buffers()[1]],
    children=[pa.array([1, 2, 3, 4, 5], INT64)],
)


def loop(records):
    """The values and lengths of Python lists, the obvious way."""
    return [value for values in records for value in values or []], [len(values or []) for values in records]


@pytest.mark.parametrize(
    ("column", "records"),
    [
        pytest.param(ARRAY, RECORDS, id="whole"),
        pytest.param(ARRAY.slice(1), RECORDS[1:], id="without-the-first"),
        pytest.param(ARRAY.slice(1, 3), RECORDS[1:4], id="middle"),
        pytest.param(ARRAY.slice(3).slice(1), RECORDS[4:], id="slice-of-a-slice"),
        pytest.param(ARRAY.slice(0, 0), [], id="no-record"),
        pytest.param(ARRAY.take(pa.array([4, None, 0])), [RECORDS[4], None, RECORDS[0]], id="taken"),
        pytest.param(HIDING, [[1, 2], None, [5]], id="null-hides-values"),
        pytest.param(HIDING.slice(1), [None, [5]], id="slice-of-a-null-that-hides-values"),
        pytest.param(pa.array(RECORDS, pa.list_(INT64)).slice(1), RECORDS[1:], id="short-offsets"),
        pytest.param(pa.array([[1, 2], None, [3, 4]], pa.list_(INT64, 2)).slice(1), [None, [3, 4]], id="fixed-size"),
        pytest.param(pa.chunked_array([ARRAY.slice(3), ARRAY.slice(0, 2)]), RECORDS[3:] + RECORDS[:2], id="chunks"),
        pytest.param(pa.chunked_array([ARRAY.slice(3)]), RECORDS[3:], id="one-chunk"),
        pytest.param(pa.chunked_array([], pa.large_list(INT64)), [], id="no-chunk"),
        pytest.param(pa.nulls(3), [None] * 3, id="column-of-nulls"),
        pytest.param(pa.nulls(0), [], id="column-of-no-nulls"),
        pytest.param(pa.array([[], None], pa.large_list(pa.null())), [[], None], id="lists-of-no-type"),
    ],
)
class TestFlatten:
    def test_values_and_lengths_are_those_of_a_loop(self, column, records):
        values, lengths = lists.flatten(column, INT64)
        assert isinstance(values, pa.Array)
        assert values.type == INT64
        assert lengths.dtype == np.int64
        assert (values.to_pylist(), lengths.tolist()) == loop(records)

    def test_lists_come_back_from_values_and_lengths(self, column, records):
        again = lists.from_flat(*lists.flatten(column, INT64))
        assert again.type == pa.large_list(INT64)
        assert again.to_pylist() == [values or [] for values in records]
        assert again.null_count == 0


def test_values_keep_a_type_that_the_column_names():
    values, _ = lists.flatten(pa.array([[], None], pa.large_list(FLOAT32)), BYTES)
    assert values.type == FLOAT32


class TestFlat:
    records = pa.RecordBatch.from_pydict(
        {
            "codes": ARRAY,
            "ids": pa.array([[b"a"], None, [], [b""], [b"\xff", b"b"]], pa.large_list(BYTES)),
            "nothing": pa.nulls(5),
            "price": pa.array([[1.5], [], [2.5], None, []], pa.large_list(FLOAT32)),
        }
    )

    @pytest.mark.parametrize("as_table", [False, True], ids=["batch", "table"])
    @pytest.mark.parametrize(("start", "stop"), [(0, 5), (1, 5), (1, 3), (5, 5)])
    @pytest.mark.parametrize(("name", "kind"), [("codes", INT64), ("ids", BYTES), ("price", FLOAT32)])
    def test_a_feature_is_read_from_a_slice_of_records(self, name, kind, start, stop, as_table):
        records = self.records.slice(start, stop - start)
        records = pa.Table.from_batches([records]) if as_table else records
        values, lengths = lists.flat(records, name, kind)
        assert (values.tolist(), lengths.tolist()) == loop(self.records[name].to_pylist()[start:stop])
        assert values.dtype == kind.to_pandas_dtype() if kind != BYTES else values.dtype == object

    @pytest.mark.parametrize("name", ["nothing", "no such column"])
    @pytest.mark.parametrize("kind", [INT64, BYTES, FLOAT32], ids=str)
    def test_a_feature_that_no_record_has_is_empty_lists_of_its_type(self, name, kind):
        values, lengths = lists.flat(self.records, name, kind)
        assert len(values) == 0
        assert values.dtype == pa.array([], kind).to_numpy(zero_copy_only=False).dtype
        assert lengths.tolist() == [0] * 5

    def test_integers_are_read_where_floats_are_expected(self):
        values, _ = lists.flat(self.records, "codes", FLOAT32)
        assert values.dtype == np.float32
        assert values.tolist() == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize(("name", "kind"), [("ids", INT64), ("price", INT64), ("codes", BYTES)])
    def test_another_type_is_an_error(self, name, kind):
        with pytest.raises(TypeError, match=rf"feature '{name}' must hold {kind}\. Received: .*kind in the spec"):
            lists.flat(self.records, name, kind)

    def test_no_value_is_of_the_wrong_type(self):
        values, lengths = lists.read("f", pa.array([[], None], pa.large_list(BYTES)), FLOAT32)
        assert values.dtype == np.float32
        assert lengths.tolist() == [0, 0]


class TestOneValueARecord:
    values, lengths = np.array([7, 8, 9]), np.array([0, 2, 0, 1])

    def test_owners_name_the_record_of_each_value(self):
        assert lists.owners(self.lengths).tolist() == [1, 1, 3]
        assert lists.owners(np.zeros(0, np.int64)).tolist() == []

    def test_first_takes_the_first_of_several(self):
        assert lists.first(self.values, self.lengths, -1).tolist() == [-1, 7, -1, 9]

    def test_only_takes_one_value_and_refuses_several(self):
        assert lists.only("f", self.values, np.array([1, 0, 1, 1]), -1).tolist() == [7, -1, 8, 9]
        with pytest.raises(ValueError, match="feature 'f' takes one value a record. Received: 2 values in record 1"):
            lists.only("f", self.values, self.lengths, -1)

    def test_missing_bytes_and_numbers_have_the_type_of_the_values(self):
        packed = lists.only("f", np.array([b"x"], object), np.array([0, 1]), b"")
        assert packed.tolist() == [b"", b"x"]
        price = lists.only("f", np.array([2.5], np.float32), np.array([1, 0]), np.nan)
        assert price.dtype == np.float32
        np.testing.assert_array_equal(price, np.array([2.5, np.nan], np.float32))

    def test_no_record_has_a_value(self):
        for found in (lists.first, lambda *args: lists.only("f", *args)):
            assert found(np.zeros(0, np.int64), np.zeros(2, np.int64), 5).tolist() == [5, 5]
            assert found(np.zeros(0, np.int64), np.zeros(0, np.int64), 5).tolist() == []


class TestStack:
    def test_a_missing_vector_is_a_row_of_nan(self):
        stacked = lists.stack("f", np.arange(4, dtype=np.float32), np.array([2, 0, 2]), 2)
        assert stacked.dtype == np.float32
        np.testing.assert_array_equal(stacked, [[0, 1], [np.nan, np.nan], [2, 3]])

    @pytest.mark.parametrize("num_records", [0, 3])
    def test_all_may_be_missing(self, num_records):
        stacked = lists.stack("f", np.zeros(0, np.float32), np.zeros(num_records, np.int64), 2)
        assert stacked.shape == (num_records, 2)
        assert np.isnan(stacked).all()

    def test_another_length_is_an_error(self):
        with pytest.raises(ValueError, match="feature 'f' must have 2 values or none. Received: 3 values in record 1"):
            lists.stack("f", np.zeros(5, np.float32), np.array([2, 3]), 2)


def test_a_record_has_an_empty_list_where_it_has_no_value():
    records = pa.RecordBatch.from_pydict({"a": pa.array([[1], None, []], pa.large_list(INT64)), "b": pa.nulls(3)})
    for source in (records, pa.Table.from_batches([records.slice(0, 1), records.slice(1)])):
        assert [lists.record(source, row) for row in range(3)] == [
            {"a": [1], "b": []},
            {"a": [], "b": []},
            {"a": [], "b": []},
        ]


class TestToLists:
    @pytest.mark.parametrize(
        "values",
        [np.array([1, 2, 3]), pa.array([1, 2, 3]), pa.array([0, 1, 2, 3]).slice(1), pa.chunked_array([[1], [2, 3]])],
        ids=["numpy", "array", "slice", "chunks"],
    )
    def test_values_of_any_form(self, values):
        found = lists.from_flat(values, np.array([2, 0, 1]))
        assert found.type == pa.large_list(INT64)
        assert found.to_pylist() == [[1, 2], [], [3]]

    def test_values_are_cast(self):
        text = lists.from_flat(pa.array(["a", "ö"], pa.large_string()), np.array([1, 1]), BYTES)
        assert text.type == pa.large_list(BYTES)
        assert text.to_pylist() == [[b"a"], ["ö".encode()]]
        assert lists.from_flat(np.array([b"a"], object), np.array([1]), BYTES).type == pa.large_list(BYTES)

    def test_offsets_may_be_short(self):
        found = lists.from_flat(np.array([1, 2]), np.array([0, 2]), layout=pa.ListArray)
        assert found.type == pa.list_(INT64)
        assert found.to_pylist() == [[], [1, 2]]

    def test_no_record(self):
        found = lists.from_flat(np.zeros(0, np.int64), np.zeros(0, np.int64))
        assert found.type == pa.large_list(INT64)
        assert len(found) == 0

    def test_single_has_one_value_a_record(self):
        found = lists.single(pa.chunked_array([pa.array([0.5, 1.5], pa.float64()), [2.5]]), FLOAT32)
        assert found.type == pa.large_list(FLOAT32)
        assert found.to_pylist() == [[0.5], [1.5], [2.5]]

    def test_empty_has_none(self):
        found = lists.empty(2, BYTES)
        assert found.type == pa.large_list(BYTES)
        assert found.to_pylist() == [[], []]
        assert len(lists.empty(0, BYTES)) == 0

    def test_empty_lists_become_nulls(self):
        assert lists.empty_as_null(ARRAY).to_pylist() == [[1, 2], None, None, [3], [4, 5, 6]]
        assert lists.empty_as_null(ARRAY.slice(1, 3)).to_pylist() == [None, None, [3]]


class TestVectors:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)

    def test_vectors_come_back(self):
        column = lists.from_vectors(self.vectors)
        assert column.type == pa.list_(FLOAT32, 2)
        np.testing.assert_array_equal(lists.to_vectors(column), self.vectors)

    def test_of_slices_and_chunks(self):
        column = lists.from_vectors(self.vectors)
        np.testing.assert_array_equal(lists.to_vectors(column.slice(1)), self.vectors[1:])
        chunks = pa.chunked_array([column.slice(2), column.slice(0, 2)])
        np.testing.assert_array_equal(lists.to_vectors(chunks), self.vectors[[2, 0, 1]])

    def test_of_a_transposed_array_and_of_none(self):
        np.testing.assert_array_equal(lists.to_vectors(lists.from_vectors(self.vectors.T)), self.vectors.T)
        assert lists.to_vectors(lists.from_vectors(np.zeros((0, 4)))).shape == (0, 4)


def test_tables_become_one_whatever_columns_are_missing_in_some():
    tables = [pa.table({"a": [1, 2], "b": pa.nulls(2)}), pa.table({"b": ["x"]}), pa.table({"a": pa.nulls(1)})]
    found = lists.concat_tables(tables)
    assert found.schema.types == [pa.int64(), pa.string()]
    assert found.to_pydict() == {"a": [1, 2, None, None], "b": [None, None, "x", None]}


def test_a_worker_that_reads_lists_loads_neither_tensorflow_nor_beam():
    code = "import sys, recsys_ssl.lists; sys.exit(bool({'tensorflow', 'apache_beam'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
