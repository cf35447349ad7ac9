"""The transformation on raw example files, every kind of feature, against the raw records themselves."""

import collections
import itertools
import math
import os
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.features import preprocessing
from recsys_ssl.features.encoding import EncodedFeature, read_encoding
from recsys_ssl.features.preprocessing import RawCleaner, raw_to_sparse, serving_signature
from recsys_ssl.spec import FeatureSpec


def read(directory, split):
    """name -> lists of all records in the order of the files."""
    columns = collections.defaultdict(list)
    for batch in examples.read_batches(examples.list_shards(directory, split)):
        for name, lists in batch.to_pydict().items():
            columns[name] += [values or [] for values in lists]
    return columns


def read_vocabulary(transform_dir, name):
    with open(os.path.join(transform_dir, "transform_fn", "assets", name), "rb") as file:
        return file.read().split(b"\n")[:-1]


def assert_coded(codes, values, vocabulary, oov_buckets):
    """Known values have their place in the vocabulary, unknown ones an out-of-vocabulary bucket."""
    assert len(codes) == len(values)
    for record_codes, record_values in zip(codes, values):
        assert len(record_codes) == len(record_values)
        for code, value in zip(record_codes, record_values):
            if value in vocabulary:
                assert code == vocabulary.index(value)
            else:
                assert len(vocabulary) <= code < len(vocabulary) + oov_buckets


@pytest.fixture(scope="module")
def catalogue(shop):
    return read(shop.encoded.catalogue, "catalogue")


# --- Items --------------------------------------------------------------------------------------------


def test_bookkeeping_columns_keep_values_and_order(shop, catalogue):
    assert catalogue["item_row"] == [[row] for row in range(len(shop.items))]
    assert catalogue["item_id"] == [item["product"] for item in shop.items]
    bought = collections.Counter(event["item_row"][0] for event in shop.events["train"])
    assert catalogue["train_count"] == [[bought[row]] for row in range(len(shop.items))]


def test_shards_keep_their_names(shop):
    for split in ("train", "eval", "test"):
        names = [
            [os.path.basename(p) for p in examples.list_shards(d, split)]
            for d in (shop.raw.interactions, shop.encoded.interactions)
        ]
        assert names[0] == names[1]


def test_every_id_has_its_own_code(shop, catalogue):
    vocabulary = read_vocabulary(shop.encoded.item_transform, "product")
    assert sorted(vocabulary) == sorted(item["product"][0] for item in shop.items)
    assert_coded(catalogue["product"], [item["product"] for item in shop.items], vocabulary, 1)


def test_a_categorical_feature_keeps_its_most_frequent_values(shop, catalogue):
    vocabulary = read_vocabulary(shop.encoded.item_transform, "brand")
    assert sorted(vocabulary) == sorted(b"brand %d" % brand for brand in range(18))
    brands = [item["brand"] for item in shop.items]
    assert_coded(catalogue["brand"], brands, vocabulary, 1)
    assert [] in brands
    assert catalogue["brand"][19] == [18]


def test_a_bag_keeps_all_its_values_and_rare_ones_share_the_buckets(shop, catalogue):
    vocabulary = read_vocabulary(shop.encoded.item_transform, "tags")
    tags = [item["tags"] for item in shop.items]
    assert set(vocabulary) == {b"a", b"b\tb", b"c"}
    assert_coded(catalogue["tags"], tags, vocabulary, 2)
    assert tags[1] == [b"odd", b"rare"]
    assert max(map(len, tags)) == 3


def words_of(title):
    """Lower-cased runs of letters, marks and digits."""
    text = title.decode("utf-8", "replace").lower()
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).split()


def test_text_becomes_lower_cased_unigrams_and_bigrams_of_the_first_words(shop, catalogue):
    grams = []
    for item in shop.items:
        words = words_of(item["title"][0])[:3] if item["title"] else []
        grams.append(sorted([*words, *(" ".join(pair) for pair in itertools.pairwise(words))]))
    assert grams[0] == sorted(["über", "maß", "café", "über maß", "maß café"])
    assert grams[1] == sorted(["one", "two", "three", "one two", "two three"])
    assert grams[2] == sorted(["हिन्दी", "भाषा", "हिन्दी भाषा"])
    assert grams[3] == ["cafe\u0301"]
    assert grams[4] == []
    vocabulary = [gram.decode() for gram in read_vocabulary(shop.encoded.item_transform, "title")]
    assert [sorted(vocabulary[code] for code in codes) for codes in catalogue["title"]] == grams
    counts = collections.Counter(gram for bag in grams for gram in bag)
    frequencies = [counts[gram] for gram in vocabulary]
    assert frequencies == sorted(frequencies, reverse=True)
    assert set(vocabulary) == set(counts)


def test_a_number_becomes_its_quantile(shop, catalogue):
    prices = [item["price"] for item in shop.items]
    known = sorted(price[0] for price in prices if price)
    for codes, price in zip(catalogue["price"], prices):
        assert len(codes) == len(price)
        if price:
            share = known.index(price[0]) / len(known)
            # Quantile borders are approximate: one value may lie on either side.
            assert codes[0] in {math.floor(4 * max(share - 0.01, 0)), math.floor(4 * min(share + 0.01, 0.999))}
    assert {codes[0] for codes in catalogue["price"] if codes} == {0, 1, 2, 3}


def test_a_vector_is_standardised_per_element_and_a_missing_one_stays_missing(shop, catalogue):
    known = np.array([item["shape"] for item in shop.items if item["shape"]])
    expected = [
        ((np.array(item["shape"]) - known.mean(0)) / known.std(0)).tolist() if item["shape"] else []
        for item in shop.items
    ]
    assert [len(vector) for vector in catalogue["shape"]] == [len(vector) for vector in expected]
    for vector, values in zip(catalogue["shape"], expected):
        np.testing.assert_allclose(vector, values, rtol=1e-4, atol=1e-5)


# --- Queries --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_interactions_keep_their_columns_and_order(shop, split):
    encoded, raw = read(shop.encoded.interactions, split), shop.events[split]
    for name in ("query_id", "item_row", "timestamp_us", "example_weight"):
        assert encoded[name] == [event[name] for event in raw]
    if split != "train":
        assert encoded["seen_rows"] == [event["seen_rows"] for event in raw]
    assert "item_id" not in encoded


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_query_features_are_coded_by_what_the_train_split_has(shop, split):
    encoded, raw = read(shop.encoded.interactions, split), shop.events[split]
    vocabulary = read_vocabulary(shop.encoded.query_transform, "taste")
    assert set(vocabulary) == {b"taste %d" % taste for taste in range(20)}
    assert_coded(encoded["taste"], [event["taste"] for event in raw], vocabulary, 1)
    assert [] in encoded["taste"]
    if split == "test":
        assert encoded["taste"][0] == [20]


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_a_sequence_has_the_codes_of_the_catalogue_in_its_order(shop, catalogue, split):
    code_of = {item["product"][0]: codes[0] for item, codes in zip(shop.items, catalogue["product"])}
    encoded = read(shop.encoded.interactions, split)
    expected = [[code_of.get(product, 200) for product in event["history"]] for event in shop.events[split]]
    assert encoded["history"] == expected
    assert [] in expected
    assert any(200 in codes for codes in expected)


# --- Encodings ------------------------------------------------------------------------------------------


def test_the_encoding_states_sizes_and_shared_vocabularies(shop):
    title = len(read_vocabulary(shop.encoded.item_transform, "title")) + 1
    assert read_encoding(shop.encoded.item_transform) == (
        EncodedFeature("product", "item/product", 200 + 1, unknown=1),
        EncodedFeature("brand", "item/brand", 18 + 1),
        EncodedFeature("tags", "item/tags", 3 + 2),
        EncodedFeature("title", "item/title", title),
        EncodedFeature("price", "item/price", 4),
        EncodedFeature("shape", "item/shape", 0, dim=2),
    )
    assert read_encoding(shop.encoded.query_transform) == (
        EncodedFeature("taste", "query/taste", 20 + 1),
        EncodedFeature("history", "item/product", 200 + 1),
    )


def test_no_temporary_file_is_left(shop):
    for directory in (shop.encoded.query_transform, shop.encoded.item_transform):
        assert sorted(os.listdir(directory)) == ["encoding.json", "transform_fn", "transformed_metadata"]


# --- Queries that are items; a second run ---------------------------------------------------------------


ODD_PAGES = [b" page\t0 ", b"page 1\x0b\x0c", "page 2\u2028\x85".encode(), b"page\r\n3", b"page\n\r3\n"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make_records):
    """Two features, one without any value, transformed over the remains of a broken earlier run."""
    root = tmp_path_factory.mktemp("pages")
    spec = FeatureSpec.model_validate(
        {
            "version": 1,
            "name": "pages",
            "events": {"paths": ["e.csv"], "query_id": "from", "item_id": "to"},
            "items": {
                "table": {"paths": ["i.csv"]},
                "id": "page",
                "features": [{"name": "page", "kind": "id"}, {"name": "topic", "kind": "categorical"}],
            },
            "queries": {"same_as_items": True},
            "split": {"kind": "random"},
        }
    )
    rows = range(5)
    catalogue = {
        "item_row": [[row] for row in rows],
        "item_id": [[b"page %d\n" % row] for row in rows],
        "page": [[page] for page in ODD_PAGES],
        "topic": [[] for _ in rows],
        "train_count": [[1] for _ in rows],
    }
    examples.write_shard(make_records(catalogue), root / "catalogue", "catalogue", "part-0")
    for split in examples.INTERACTION_SPLITS:
        events = {
            "query_id": [[b"page 1"], [b"page 4"]],
            "item_id": [[b"page 0"], [b"page 2"]],
            "item_row": [[0], [2]],
            "query_row": [[1], [4]],
            "example_weight": [[1.0], [0.5]],
            "seen_rows": [[1, 3], []],
        }
        examples.write_shard(make_records(events), root / "interactions", split, "part-0")
    out = [
        str(root / name) for name in ("query_transform", "item_transform", "encoded_interactions", "encoded_catalogue")
    ]
    for directory in out[:2]:
        for name in ("transform_fn", "transformed_metadata", "transform_tmp"):
            os.makedirs(os.path.join(directory, name, "old"))
    examples.write_shard(make_records({"item_row": [[7]]}), out[3], "catalogue", "part-9")
    examples.write_shard(make_records({"item_row": [[7]]}), out[2], "eval", "part-9")
    preprocessing.transform(spec, str(root / "interactions"), str(root / "catalogue"), *out)
    return out


def test_queries_that_are_items_have_their_row_and_no_features(pages):
    events = read(pages[2], "eval")
    assert dict(events) == {
        "query_id": [[b"page 1"], [b"page 4"]],
        "item_row": [[0], [2]],
        "query_row": [[1], [4]],
        "example_weight": [[1.0], [0.5]],
        "seen_rows": [[1, 3], []],
    }
    assert read_encoding(pages[0]) == ()


def test_nothing_of_an_earlier_run_is_read(pages):
    assert len(read(pages[3], "catalogue")["item_row"]) == 5
    assert len(examples.list_shards(pages[3], "catalogue")) == 1


def test_ids_with_line_ends_and_odd_blanks_have_a_code_each_in_files_and_in_serving(pages):
    codes = [codes[0] for codes in read(pages[3], "catalogue")["page"]]
    assert sorted(codes) == [0, 1, 2, 3, 4]
    encode = preprocessing.load_item_encoder(pages[1])
    assert encode(raw_to_sparse({"page": tf.constant(ODD_PAGES)}))["page"].values.numpy().tolist() == codes


def test_a_feature_without_values_is_missing(pages):
    catalogue = read(pages[3], "catalogue")
    assert catalogue["topic"] == [[]] * 5
    assert read_encoding(pages[1])[1].size >= 1


# --- Serving --------------------------------------------------------------------------------------------


def test_the_serving_signature_names_type_and_shape_of_every_kind(shop):
    assert serving_signature(shop.spec.item_features) == {
        "product": tf.TensorSpec([None], tf.string, "product"),
        "brand": tf.TensorSpec([None], tf.string, "brand"),
        "tags": tf.TensorSpec([None, None], tf.string, "tags"),
        "title": tf.TensorSpec([None], tf.string, "title"),
        "price": tf.TensorSpec([None], tf.float32, "price"),
        "shape": tf.TensorSpec([None, 2], tf.float32, "shape"),
    }
    assert serving_signature(shop.spec.query_features) == {
        "taste": tf.TensorSpec([None], tf.string, "taste"),
        "history": tf.TensorSpec([None, None], tf.string, "history"),
    }


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("dense", "values"),
    [
        pytest.param(["a", "", "b"], [["a"], [], ["b"]], id="one text"),
        pytest.param([["a", "b"], ["", ""], ["", "c"]], [["a", "b"], [], ["c"]], id="several texts"),
        pytest.param([1.0, NAN, INF, 0.0], [[1.0], [], [], [0.0]], id="number"),
        pytest.param([[1.0, 2.0], [NAN, NAN], [0.0, NAN]], [[1.0, 2.0], [], []], id="vector, whole or missing"),
    ],
)
def test_dense_tensors_become_sparse_without_what_is_missing(dense, values):
    sparse = raw_to_sparse({"x": tf.constant(dense)})["x"]
    found = [[] for _ in range(int(sparse.dense_shape[0]))]
    for (record, _), value in zip(sparse.indices.numpy(), sparse.values.numpy()):
        found[record].append(value.decode() if isinstance(value, bytes) else value)
    assert found == values


def test_a_history_is_cut_to_its_last_items(shop):
    encode = preprocessing.QueryEncoder(shop.spec, shop.encoded.query_transform, shop.encoded.item_transform)
    products = [item["product"][0] for item in shop.items[:50]]
    histories = [products[:25], [], [*products[:3], b"", *products[3:20]], products[30:33]]
    raw = {"history": tf.constant([row + [b""] * (25 - len(row)) for row in histories]), "taste": tf.constant([""] * 4)}
    item_encoder = preprocessing.load_item_encoder(shop.encoded.item_transform)
    codes = item_encoder(raw_to_sparse({"product": tf.constant(products)}))["product"].values.numpy().tolist()
    expected = [codes[5:25], [], codes[:20], codes[30:33]]
    for call in (encode, tf.function(encode)):
        found = call(raw_to_sparse(raw))["history"]
        rows = [found.values.numpy()[found.indices[:, 0] == record].tolist() for record in range(4)]
        assert rows == expected


def test_serving_tensors_give_the_codes_of_the_files(shop, catalogue):
    encode = preprocessing.load_item_encoder(shop.encoded.item_transform)
    rows = [0, 1, 2, 3, 4, 5, 6, 13, 58]
    items = [shop.items[row] for row in rows]
    width = max(len(item["tags"]) for item in items)
    raw = {name: tf.constant([(item[name] or [b""])[0] for item in items]) for name in ("product", "brand", "title")}
    raw["tags"] = tf.constant([item["tags"] + [b""] * (width - len(item["tags"])) for item in items])
    raw["price"] = tf.constant([(item["price"] or [NAN])[0] for item in items])
    raw["shape"] = tf.constant([item["shape"] or [NAN, NAN] for item in items])
    for name, sparse in encode(raw_to_sparse(raw)).items():
        found = [sparse.values.numpy()[sparse.indices[:, 0] == record].tolist() for record in range(len(rows))]
        assert found == [catalogue[name][row] for row in rows], name


def test_raw_values_are_read_as_cells_are():
    spec = FeatureSpec.model_validate(
        {
            "name": "shop",
            "events": {
                "paths": ["e.csv"],
                "query_id": "user",
                "item_id": "item",
                "missing": [" n/a "],
                "features": [{"name": "device", "kind": "categorical"}, {"name": "hour", "kind": "numeric"}],
            },
            "items": {
                "table": {"paths": ["i.csv"], "missing": ["-"]},
                "id": "item",
                "features": [
                    {"name": "item", "kind": "id"},
                    {"name": "tags", "kind": "categorical", "multi_valued": True},
                    {"name": "brand", "kind": "categorical"},
                ],
            },
            "split": {"kind": "random"},
        }
    )
    query = RawCleaner(spec, spec.query_features).clean(
        {"device": tf.constant(["n/a", " n/a", "-", " tv"]), "hour": tf.constant([1.0, 2.0, 3.0, 4.0])}
    )
    assert query["device"].numpy().tolist() == [b"", b"", b"-", b" tv"]
    assert query["hour"].numpy().tolist() == [1.0, 2.0, 3.0, 4.0]
    item = RawCleaner(spec, spec.item_features).clean(
        {"tags": tf.constant([["a ", " - "], [" b c", ""]]), "brand": tf.constant(["-", "n/a"])}
    )
    assert item["tags"].numpy().tolist() == [[b"a", b""], [b"b c", b""]]
    assert item["brand"].numpy().tolist() == [b"", b"n/a"]
