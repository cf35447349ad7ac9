import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from recsys_ssl import examples, lists
from recsys_ssl.index import embed, embeddings


def read(path):
    return pa.concat_tables(embeddings.iterate_rows(path, None))


def embed_one_by_one(towers_dir, signature, batch, list_names, dim_of=()):
    """The slow way: one call per record, built from Python lists."""
    towers = tf.saved_model.load(towers_dir)
    specs = towers.signatures[signature].structured_input_signature[1]
    vectors = []
    for row in batch.to_pylist():
        inputs = {}
        for name, spec in specs.items():
            values = row[name] or []
            if spec.dtype == tf.string:
                value = values if name in list_names else (values or [b""])[0]
            elif name in dim_of:
                value = values or [float("nan")] * 3
            else:
                value = (values or [float("nan")])[0]
            inputs[name] = tf.constant([value], spec.dtype, shape=[1, len(value)] if isinstance(value, list) else [1])
        vectors.append(towers.signatures[signature](**inputs)["embedding"].numpy()[0])
    return np.stack(vectors)


def all_records(root, split):
    return pa.Table.from_batches(list(examples.read_batches(examples.list_shards(root, split), 1000)))


def test_items_have_the_contracts_columns_and_order(items_dir):
    rows = read(items_dir)
    assert rows.schema.types == [pa.int64(), pa.binary(), pa.list_(pa.float32(), 8), pa.int64()]
    assert rows.schema.names == ["item_row", "item_id", "vector", "train_count"]
    assert rows["item_row"].to_pylist() == list(range(60))
    assert rows["item_id"].to_pylist() == [f"film-{row}".encode() for row in range(60)]
    assert rows["train_count"].to_pylist() == [2 * row for row in range(60)]


def test_item_vectors_equal_one_call_per_record(towers_dir, catalogue_dir, items_dir):
    catalogue = all_records(catalogue_dir, "catalogue")
    expected = embed_one_by_one(towers_dir, "embed_item", catalogue, {"genres"}, {"colour"})
    np.testing.assert_allclose(embeddings.read_items(items_dir).vectors, expected, atol=1e-6)


def test_queries_have_the_contracts_columns_and_order(queries_dir):
    rows = read(queries_dir)
    assert rows.schema.names == ["query_id", "item_row", "seen_rows", "timestamp_us", "gender", "vector"]
    types = [pa.binary(), pa.int64(), pa.list_(pa.int64()), pa.int64(), pa.string(), pa.list_(pa.float32(), 8)]
    assert rows.schema.types == types
    assert rows["query_id"].to_pylist() == [f"u{row % 9}".encode() for row in range(40)]
    assert rows["item_row"].to_pylist() == [row * 3 % 60 for row in range(40)]
    assert rows["seen_rows"].to_pylist() == [list(range(row % 6)) for row in range(40)]
    assert rows["timestamp_us"].to_pylist() == [1_000_000 * row for row in range(40)]
    assert rows["gender"].to_pylist() == ["" if row % 4 == 0 else "FM"[row % 2] for row in range(40)]


def test_query_vectors_equal_one_call_per_record(towers_dir, interactions_dir, queries_dir):
    expected = embed_one_by_one(towers_dir, "embed_query", all_records(interactions_dir, "test"), {"history"})
    vectors = lists.to_vectors(read(queries_dir)["vector"])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 4096])
def test_batch_size_changes_nothing_but_the_files(towers_dir, catalogue_dir, items_dir, tmp_path, batch_size):
    embed.embed_items(towers_dir, catalogue_dir, str(tmp_path), batch_size=batch_size)
    rows, expected = read(str(tmp_path)), read(items_dir)
    assert rows.drop(["vector"]).equals(expected.drop(["vector"]))
    vectors = lists.to_vectors(rows["vector"])
    np.testing.assert_allclose(vectors, lists.to_vectors(expected["vector"]), atol=1e-6)
    assert len(list(tmp_path.glob("*.parquet"))) == sum(-(-size // batch_size) for size in (25, 25, 10))


def test_earlier_files_are_replaced(towers_dir, catalogue_dir, tmp_path):
    embed.embed_items(towers_dir, catalogue_dir, str(tmp_path), batch_size=5)
    embed.embed_items(towers_dir, catalogue_dir, str(tmp_path))
    assert len(list(tmp_path.glob("*"))) == 3
    assert len(embeddings.read_items(tmp_path).vectors) == 60


def test_runs_in_the_callers_pipeline(towers_dir, catalogue_dir, tmp_path):
    options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
    embed.embed_items(towers_dir, catalogue_dir, str(tmp_path), pipeline=beam.Pipeline(options=options))
    assert len(embeddings.read_items(tmp_path).vectors) == 60


# --- Queries that are items -------------------------------------------------------------------------


@pytest.fixture
def page_interactions_dir(make_page_events, tmp_path):
    path = str(tmp_path / "pages")
    examples.write_shard(make_page_events(0, 20), path, "eval", "a")
    examples.write_shard(make_page_events(20, 33), path, "eval", "b")
    return path


@pytest.mark.parametrize("batch_size", [4, 4096])
def test_query_items_are_joined_by_row(
    page_towers_dir, page_interactions_dir, catalogue_dir, items_dir, page_spec, tmp_path, batch_size
):
    out = str(tmp_path / "out")
    embed.embed_queries(page_towers_dir, page_interactions_dir, catalogue_dir, "eval", page_spec, out, None, batch_size)
    rows, items = read(out), embeddings.read_items(items_dir)
    query_rows = [row * 7 % 11 for row in range(33)]
    assert rows["query_row"].to_pylist() == query_rows
    assert rows["item_row"].to_pylist() == list(range(33))
    assert rows["timestamp_us"].null_count == 33
    # Row r has the genres of r's set bits; the first one is the lowest bit's.
    names = ["comedy", "drama", "noir", "war"]
    assert rows["genres"].to_pylist() == [names[(r & -r).bit_length() - 1] if r else "" for r in query_rows]
    # These towers embed a query as the item that it is.
    vectors = lists.to_vectors(rows["vector"])
    np.testing.assert_allclose(vectors, items.vectors[query_rows], atol=1e-6)


def test_unknown_query_row_is_an_error(page_towers_dir, catalogue_dir, page_spec, make_records, tmp_path):
    events = make_records(query_id=[[b"x"], [b"y"]], item_row=[[0], [1]], query_row=[[3], [60]], seen_rows=[[3], [60]])
    examples.write_shard(events, tmp_path / "events", "test", "a")
    with pytest.raises(Exception, match=r"every query_row must be a row of the catalogue\. Received: 60"):
        embed.embed_queries(
            page_towers_dir, str(tmp_path / "events"), catalogue_dir, "test", page_spec, str(tmp_path / "out")
        )


# --- Errors ------------------------------------------------------------------------------------------


def embed_catalogue(towers_dir, batch, tmp_path):
    examples.write_shard(batch, tmp_path / "catalogue", "catalogue", "a")
    embed.embed_items(towers_dir, str(tmp_path / "catalogue"), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_count": None}, "the examples need the feature 'train_count'"),
        ({"title": [[1]] * 2}, "feature 'title' must hold large_binary. Received: int64"),
        ({"title": [[b"a", b"b"], [b"c"]]}, "feature 'title' takes one value a record. Received: 2 values in record 0"),
        ({"colour": [[0.1, 0.2, 0.3], [0.1, 0.2]]}, "must have 3 values or none. Received: 2 values in record 1"),
        ({"train_count": [[1], []]}, "every record must have one train_count. Received: 0 values"),
        ({"colour": [[1.0, float("inf"), 1.0], []]}, "must return finite embeddings"),
    ],
    ids=["no column", "wrong type", "two values", "wrong dim", "no count", "infinite"],
)
def test_bad_records_are_explained(towers_dir, make_catalogue, make_records, tmp_path, change, message):
    columns = make_catalogue(0, 2).to_pydict() | change
    batch = make_records(**{name: lists for name, lists in columns.items() if lists is not None})
    with pytest.raises(Exception, match=message):
        embed_catalogue(towers_dir, batch, tmp_path)


def test_feature_that_is_missing_everywhere_is_no_error(towers_dir, make_catalogue, make_records, tmp_path):
    columns = make_catalogue(0, 2).to_pydict() | {"genres": [[], []], "title": [None, None], "colour": [None, None]}
    embed_catalogue(towers_dir, make_records(**columns), tmp_path)
    assert np.isfinite(embeddings.read_items(tmp_path / "out").vectors).all()


def test_no_examples_and_wrong_split_are_errors(towers_dir, spec, tmp_path):
    with pytest.raises(FileNotFoundError, match="Run the stage that writes them first"):
        embed.embed_items(towers_dir, str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"split must be 'eval' or 'test'\. Received: split='train'"):
        embed.embed_queries(towers_dir, str(tmp_path), str(tmp_path), "train", spec, str(tmp_path / "out"))


def test_reading_checks_the_rows(items_dir, tmp_path):
    rows = read(items_dir)
    pq.write_table(rows.slice(1), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="in order"):
        embeddings.read_items(tmp_path)
    twice = rows.slice(0, 2).set_column(1, "item_id", pa.array([b"a", b"a"], pa.binary()))
    pq.write_table(twice, tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="must hold every item id once"):
        embeddings.read_items(tmp_path)
    with pytest.raises(FileNotFoundError, match="no embeddings in"):
        embeddings.read_items(tmp_path / "nothing")


def test_sampled_queries_are_distinct_rows_in_order(queries_dir):
    vectors = lists.to_vectors(read(queries_dir)["vector"])
    np.testing.assert_array_equal(embeddings.sample_query_vectors(queries_dir, 100, seed=0), vectors)
    sample = embeddings.sample_query_vectors(queries_dir, 15, seed=0)
    positions = [int(np.abs(vectors - vector).sum(axis=1).argmin()) for vector in sample]
    assert len(sample) == 15
    assert positions == sorted(set(positions))
    np.testing.assert_array_equal(vectors[positions], sample)
